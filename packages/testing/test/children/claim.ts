// Takes as many databases as the second argument says of the Redis that the first names, writes into each, says
// which they are, and goes on until it is killed.
import { Redis } from 'ioredis';
import { freshRedis } from '@tenantkit/testing';

const [url = '', count = ''] = process.argv.slice(2);
const taken: number[] = [];
for (let left = Number(count); left > 0; left -= 1) {
  const own = await freshRedis({ url });
  const redis = new Redis(own.url);
  await redis.set('mine', own.db);
  redis.disconnect();
  taken.push(own.db);
}
process.stdout.write(`${JSON.stringify({ taken: taken.join(' ') })}\n`);
setInterval(() => undefined, 2 ** 30);

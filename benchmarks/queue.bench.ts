import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis } from 'ioredis';
import { markdown } from './cache/report.ts';
import { isWritten, writeFigures } from './page.ts';
import { alone } from './queue/alone.ts';
import { memory } from './queue/memory.ts';
import { missed, setting, steps, throughput } from './queue/report.ts';
import { ROWS } from './queue/rows.ts';
import { Threads, type Measured } from './queue/threads.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 15);
const wanted = new RegExp(process.env['ROW'] ?? '');

// A server of its own: what others ask of a shared one would be in the figures.
await using server = await startRedisNode();
const admin = new Redis(server.url);
const version = /redis_version:(\S+)/.exec(await admin.info('server'))?.[1] ?? 'of unknown version';
admin.disconnect();

const taken = alone(ROUNDS);
console.table(steps(taken));
const held = await memory(server.url);
console.table(held);
const measured: Measured[] = [];
{
  await using threads = new Threads(server.url);
  for (const row of ROWS.filter(({ name }) => wanted.test(name))) {
    measured.push(await threads.measure(row, ROUNDS));
    console.table(throughput(measured.slice(-1)));
  }
}
const where = `${await setting(version)}. ${ROUNDS} rounds.`;
console.log(`${where} In brackets the 95 % interval of the median.`);
console.table(throughput(measured));
for (const text of missed(measured, taken)) console.log(`misses the target: ${text}`);
if (isWritten) {
  await writeFigures(
    'queue',
    [where, ...[throughput(measured), steps(taken), held].map(markdown)].join('\n\n'),
  );
}

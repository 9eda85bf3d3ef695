import { startRedisCluster, startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { markdown, missed, setting, tenants, throughput } from './cache/report.ts';
import { ROWS } from './cache/rows.ts';
import { measureTenants } from './cache/tenants.ts';
import { Threads, type Measured } from './cache/threads.ts';
import { isWritten, writeFigures } from './page.ts';

const ROUNDS = 15;

// Servers of its own: what others ask of a shared one would be in the figures.
await using server = await startRedisNode();
await using cluster = await startRedisCluster({ masters: 3 });
const admin = new Raw(server.url);
const version = /redis_version:(\S+)/.exec(await admin.info('server'))?.[1] ?? 'of unknown version';
admin.disconnect();

const measured: Measured[] = [];
{
  await using threads = new Threads({ url: server.url, nodes: cluster.masters.map(({ url }) => url) });
  for (const row of ROWS) {
    measured.push(await threads.measure(row, ROUNDS));
    console.table(throughput(measured.slice(-1)));
  }
}
const table = throughput(measured);
const many = tenants(await measureTenants(server.url));
const where = await setting(version);

console.log(`${where}. ${ROUNDS} rounds; in brackets the 95 % interval of the median.`);
console.table(table);
console.table(many);
for (const text of missed(measured)) console.log(`below the target: ${text}`);
if (isWritten) {
  const intro = `${where}. ${ROUNDS} rounds.`;
  await writeFigures('cache', [intro, markdown(table), markdown(many)].join('\n\n'));
}

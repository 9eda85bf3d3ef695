import { withTenant, currentTenant } from '@tenantkit/core';
import { startRedisCluster, startRedisSentinel } from '@tenantkit/testing/servers';
import type { ConnectionOptions } from 'bullmq';
import { Cluster, Redis } from 'ioredis';
import { afterEach, describe, expect, it } from 'vitest';
import { Queue, QueueEvents, Worker } from '@tenantkit/queue';
import { recorder } from './events-support.ts';
import { KEY, finished } from './support.ts';

const opened: { close(): Promise<void> }[] = [];
afterEach(async () => {
  for (const made of opened.splice(0).toReversed()) await made.close();
});
const keep = <T extends { close(): Promise<void> }>(made: T): T => {
  opened.push(made);
  return made;
};

const BOTH = ['acme', 'globex'] as const;
/** Who sleeps longer than a test, unless he is woken. */
const ASLEEP = { drainDelay: 600, stalledInterval: 600_000 };

const HEARD = ['before', 'after', 'later'];

/**
 * Jobs of two tenants before and after a replica has become the master.
 *
 * @returns those of one tenant, as its listener has heard of them
 */
async function goesOn(connection: ConnectionOptions, failOver: () => Promise<unknown>): Promise<unknown[]> {
  const common = { connection, prefix: '{bull}', tenant: { signingKeys: [KEY] } };
  const queue = keep(new Queue('mail', common));
  const worker = keep(
    new Worker('mail', async (job) => `${currentTenant()?.tenant} ${job.id}`, { ...common, ...ASLEEP }),
  );
  const events = keep(new QueueEvents('mail', { ...common, blockingTimeout: 600_000 }));
  // While nobody is the master they fail, and go on by themselves.
  const ignored = (): void => undefined;
  queue.on('error', ignored);
  worker.on('error', ignored);
  events.on('error', ignored);
  const heard = recorder();
  await withTenant('acme', async () => {
    events.on('completed', heard.listener);
    await events.waitUntilReady();
  });
  const add = (jobId: string): Promise<unknown[]> =>
    Promise.all(BOTH.map((tenant) => withTenant(tenant, () => queue.add('n', {}, { jobId }))));
  const run = async (jobId: string): Promise<void> => {
    const done = finished(worker, 2);
    await add(jobId);
    expect(
      (await done)
        .map(({ result }) => result)
        .toSorted((one, other) => (String(one) < String(other) ? -1 : 1)),
    ).toEqual(BOTH.map((tenant) => `${tenant} ${jobId}`));
    worker.removeAllListeners('completed');
  };
  await run('before');
  await heard.until(1);
  await failOver();
  await run('after');
  await run('later');
  const told = await heard.until(3);
  return told.map(([args]) => (args as { jobId: string }).jobId);
}

describe('when a replica becomes the master', () => {
  it('a queue behind Sentinel goes on', async () => {
    await using servers = await startRedisSentinel();
    const master = new Redis((await servers.master()).url);
    const heard = await goesOn(
      { sentinels: [...servers.sentinels], name: servers.name, maxRetriesPerRequest: null },
      async () => {
        // What the replica does not have is lost, with any client.
        await master.wait(1, 0);
        master.disconnect();
        await servers.failOver();
      },
    );
    expect(heard).toEqual(HEARD);
    for (const made of opened.splice(0).toReversed()) await made.close();
  });

  it('a queue on a Redis Cluster goes on', async () => {
    await using servers = await startRedisCluster({ masters: 3, replicas: 3 });
    const cluster = new Cluster([...servers.masters], { redisOptions: { maxRetriesPerRequest: null } });
    const slot = await cluster.cluster('KEYSLOT', '{bull}');
    const at = servers.masters.indexOf(servers.ownerOf(slot));
    const replica = servers.replicas[at];
    if (replica === undefined) throw new Error('the master has no replica');
    const heard = await goesOn(cluster, async () => {
      const admin = new Redis(replica.url);
      await admin.cluster('FAILOVER');
      while (!/role:master/.test(await admin.info('replication')));
      admin.disconnect();
    });
    expect(heard).toEqual(HEARD);
    for (const made of opened.splice(0).toReversed()) await made.close();
    cluster.disconnect();
  });
});

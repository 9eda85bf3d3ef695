import { randomBytes } from 'node:crypto';
import { on } from 'node:events';
import { acrossTenants, requireTenant, withTenant } from '@tenantkit/core';
import { Queue, Worker, queueEraser, type QueueTenantOptions } from '@tenantkit/queue';
import { Queue as RawQueue, QueueEvents as RawQueueEvents, type Job as RawJob } from 'bullmq';
import { Redis } from 'ioredis';
import { NEIGHBOUR, TENANT, answers, refused, type DemoSurface } from '../surface.ts';

/** How long a job may take, in milliseconds. */
const PATIENCE = 20_000;

/** BullMQ: jobs. */
export async function queueSurface({
  url,
  queue: name,
  signal,
}: {
  readonly url: string;
  readonly queue: string;
  readonly signal: AbortSignal;
}): Promise<DemoSurface> {
  const { hostname: host, port } = new URL(url);
  const connection = { host, port: Number(port), maxRetriesPerRequest: null };
  const tenant: QueueTenantOptions = { signingKeys: [{ kid: 'demo-1', secret: randomBytes(32) }] };
  const queue = new Queue(name, { connection, tenant });
  // Inside, each tenant has a queue of BullMQ: the forger writes into acme's.
  const raw = new RawQueue(`${name}~${TENANT}`, { connection });
  const [events, ofNeighbour] = [TENANT, NEIGHBOUR].map(
    (id) => new RawQueueEvents(`${name}~${id}`, { connection }),
  ) as [RawQueueEvents, RawQueueEvents];
  const redis = new Redis(url);
  await Promise.all([events.waitUntilReady(), ofNeighbour.waitUntilReady()]);

  /** What ran: the tenant that the processor found itself in, and the data it was given. */
  const ran: string[] = [];
  const worker = new Worker(
    name,
    async (job) => {
      ran.push(`${requireTenant().tenant}: ${job.data.text}`);
      return `done for ${requireTenant().tenant}`;
    },
    // How often it looks for what nobody has told it of, such as a forged job.
    { connection, tenant, stalledInterval: 1_000 },
  );
  await worker.waitUntilReady();

  return {
    name: 'queue',
    eraser: queueEraser(redis, { queues: [name] }),
    async seed() {
      for (const id of [TENANT, NEIGHBOUR]) {
        const own = id === TENANT ? events : ofNeighbour;
        const finished = completed(own, [`${id}~welcome-1`, `${id}~welcome-2`]);
        await withTenant(id, async () => {
          await queue.add('welcome', { text: `welcome to ${id}` }, { jobId: 'welcome-1' });
          await queue.addBulk([
            { name: 'welcome', data: { text: `again to ${id}` }, opts: { jobId: 'welcome-2' } },
          ]);
          await queue.add(
            'reminder',
            { text: `reminder for ${id}` },
            { jobId: 'reminder', delay: 3_600_000 },
          );
        });
        await finished;
      }
    },
    ownRead: () =>
      Promise.all([
        answers(
          'each job ran in the tenant that added it',
          [
            `acme2: again to acme2`,
            `acme2: welcome to acme2`,
            `acme: again to acme`,
            `acme: welcome to acme`,
          ],
          () => ran.toSorted(),
        ),
        answers(`${TENANT}: getJob('welcome-1').returnvalue`, `done for ${TENANT}`, () => returned(TENANT)),
        answers(`${NEIGHBOUR}: getJob('welcome-1').returnvalue`, `done for ${NEIGHBOUR}`, () =>
          returned(NEIGHBOUR),
        ),
      ]),
    async otherTenant() {
      const before = ran.length;
      const forged = await raw.add('welcome', { text: 'forged' });
      const genuine = await raw.getJob(`${TENANT}~welcome-1`);
      const copied = await raw.add(
        'welcome',
        { text: 'copied header' },
        { ...genuine?.opts, jobId: `${TENANT}~copied` },
      );
      const outcomes = await Promise.all([forged, copied].map(outcome));
      return [
        await answers('a job forged with raw bullmq: state', 'failed', () => outcomes[0]),
        await answers('a job with the copied header of a genuine one: state', 'failed', () => outcomes[1]),
        await answers('how many of them ran', 0, () => ran.length - before),
        await answers(`${NEIGHBOUR}: getJob of acme's physical id`, undefined, () =>
          withTenant(NEIGHBOUR, () => queue.getJob(`${TENANT}~welcome-1`)),
        ),
        await refused(`${NEIGHBOUR}: obliterate the queue`, ['OPERATION_REFUSED'], () =>
          withTenant(NEIGHBOUR, () => queue.obliterate({ force: true })),
        ),
      ];
    },
    noTenant: async () => [
      await refused('add a job', ['TENANT_MISSING'], () => queue.add('welcome', { text: 'for nobody' })),
    ],
    async raw(id) {
      const records = new Map<string, Buffer>();
      for (const key of (await redis.keys(`bull:${name}~${id}:*`)).toSorted()) {
        const dump = await redis.dumpBuffer(key);
        if (dump !== null) records.set(key, dump);
      }
      return records;
    },
    async close() {
      await worker.close();
      await acrossTenants({ reason: 'the demo is over', actor: 'demo' }, () =>
        queue.obliterate({ force: true }),
      );
      await Promise.all([queue.close(), raw.close(), events.close(), ofNeighbour.close()]);
      await redis.quit();
    },
  };

  async function returned(id: string): Promise<unknown> {
    return (await withTenant(id, () => queue.getJob('welcome-1')))?.returnvalue;
  }

  async function completed(of: RawQueueEvents, ids: readonly string[]): Promise<void> {
    const waiting = new Set(ids);
    const patience = AbortSignal.any([signal, AbortSignal.timeout(PATIENCE)]);
    for await (const [{ jobId }] of on(of, 'completed', { signal: patience })) {
      waiting.delete(jobId as string);
      if (waiting.size === 0) return;
    }
  }

  async function outcome(job: RawJob): Promise<string> {
    await job.waitUntilFinished(events, PATIENCE).catch(() => undefined);
    return job.getState();
  }
}

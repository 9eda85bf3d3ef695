import { once } from 'node:events';
import { setTimeout as after } from 'node:timers/promises';
import { withTenant } from '@tenantkit/core';
import { FlowProducer, Queue, QueueEvents, Worker } from '@tenantkit/queue';
import {
  FlowProducer as RawFlowProducer,
  Queue as RawQueue,
  QueueEvents as RawQueueEvents,
  Worker as RawWorker,
  type Processor,
} from 'bullmq';

/** What is compared: BullMQ as it is, and ours inside a tenant. */
export const KINDS = ['bullmq', 'tenantkit'] as const;

export type Kind = (typeof KINDS)[number];

/** A queue of one kind, and how a worker of it is made. */
export interface Way {
  readonly queue: Pick<RawQueue, 'add' | 'addBulk' | 'close'>;
  /** A worker that stands still until it is run. */
  readonly worker: (processor: Processor, concurrency: number) => RawWorker;
  readonly events: () => RawQueueEvents;
  readonly flows: () => Pick<RawFlowProducer, 'add' | 'close'>;
  readonly inside: <T>(run: () => T) => T;
}

/** One way of using a queue. */
export interface Row {
  readonly name: string;
  /** How many jobs one sample is about. */
  readonly jobs: number;
  /** What is done with them; answers how many milliseconds it took. */
  readonly run: (way: Way, jobs: number) => Promise<number>;
}

const NAME = 'bench';
const BULK = 100;
const IN_FLIGHT = 100;
/** About 1 KiB as JSON. */
const DATA = { to: 'ada@example.com', text: 'x'.repeat(980) };
const OPTIONS = { removeOnComplete: true };
const ENTRY = { name: 'n', data: DATA, opts: OPTIONS };
const FLOW_JOB = { ...ENTRY, queueName: NAME };

/** How many jobs a flow has, and how many flows are added at once. */
const [FLOW, FLOWS] = [20, 5];
/** What a job takes in which something happens, in milliseconds. */
const WORK = 1;

const SECRET = 'a secret of the benchmark, of 32 bytes or more';

/** @param url - of a database that nobody else uses */
export function wayOf(kind: Kind, url: string): Way {
  const connection = { url, maxRetriesPerRequest: null };
  if (kind === 'bullmq') {
    return {
      queue: new RawQueue(NAME, { connection }),
      worker: (processor, concurrency) =>
        new RawWorker(NAME, processor, { connection, concurrency, autorun: false }),
      events: () => new RawQueueEvents(NAME, { connection }),
      flows: () => new RawFlowProducer({ connection }),
      inside: (run) => run(),
    };
  }
  const tenant = { signingKeys: [{ kid: 'one', secret: SECRET }] };
  return {
    queue: new Queue(NAME, { connection, tenant }),
    worker: (processor, concurrency) =>
      new Worker(NAME, processor, { connection, concurrency, autorun: false, tenant }),
    events: () => new QueueEvents(NAME, { connection, tenant }),
    flows: () => new FlowProducer({ connection, tenant }),
    inside: (run) => withTenant('acme', run),
  };
}

/** The rows of the table. */
export const ROWS: readonly Row[] = [
  {
    name: 'add, one after the other',
    jobs: 1_000,
    run: ({ queue, inside }, jobs) =>
      inside(() =>
        timed(async () => {
          for (let n = 0; n < jobs; n += 1) await queue.add('n', DATA, OPTIONS);
        }),
      ),
  },
  {
    name: `add, ${IN_FLIGHT} in flight`,
    jobs: 5_000,
    run: ({ queue, inside }, jobs) =>
      inside(() =>
        timed(() =>
          Promise.all(
            Array.from({ length: IN_FLIGHT }, async () => {
              for (let n = 0; n < jobs / IN_FLIGHT; n += 1) await queue.add('n', DATA, OPTIONS);
            }),
          ),
        ),
      ),
  },
  { name: `addBulk of ${BULK}`, jobs: 5_000, run: (way, jobs) => timed(() => addAll(way, jobs)) },
  ended(1, 2_000),
  ended(50, 5_000),
  worked(1, 2_000),
  worked(50, 5_000),
  worked(50, 5_000, WORK),
  { name: 'from add to completed, one job', jobs: 300, run: latency },
  { name: 'from add to waitUntilFinished, one job', jobs: 300, run: waitedFor },
  {
    name: `flows of ${FLOW}, add`,
    jobs: 2_000,
    run: (way, jobs) => flowing(way, (add) => timed(() => add(jobs))),
  },
  { name: `flows of ${FLOW}, add and work, 50 at once`, jobs: 2_000, run: flowed },
];

// Added while a worker runs, until the last one is completed.
function ended(concurrency: number, jobs: number): Row {
  return {
    name: `add and work, ${concurrency} at once`,
    jobs,
    run: (way, count) =>
      working(way, concurrency, count, (worker, done) => {
        void worker.run();
        return timed(() => Promise.all([addAll(way, count), done]));
      }),
  };
}

// All of them wait already. Alone they do nothing; else a timer runs in each, as a call of something else would.
function worked(concurrency: number, jobs: number, milliseconds = 0): Row {
  const processor = milliseconds === 0 ? nothing : () => after(milliseconds);
  return {
    name: `work, ${concurrency} at once${milliseconds === 0 ? '' : `, jobs of ${milliseconds} ms`}`,
    jobs,
    run: (way, count) =>
      working(
        way,
        concurrency,
        count,
        async (worker, done) => {
          await addAll(way, count);
          return timed(() => {
            void worker.run();
            return done;
          });
        },
        processor,
      ),
  };
}

function nothing(): Promise<void> {
  return Promise.resolve();
}

/** A parent and its children, all in one queue, of which none waits for anything else. */
const flowOf = () => ({
  ...FLOW_JOB,
  children: Array.from({ length: FLOW - 1 }, () => ({ ...FLOW_JOB })),
});

async function flowing<T>(
  way: Way,
  use: (add: (jobs: number) => Promise<unknown>) => Promise<T>,
): Promise<T> {
  const flows = way.flows();
  const addSome = async (count: number): Promise<void> => {
    for (let n = 0; n < count; n += 1) await flows.add(flowOf());
  };
  try {
    return await use((jobs) =>
      way.inside(() => Promise.all(Array.from({ length: FLOWS }, () => addSome(jobs / FLOW / FLOWS)))),
    );
  } finally {
    await flows.close();
  }
}

function flowed(way: Way, jobs: number): Promise<number> {
  return flowing(way, (add) =>
    working(way, 50, jobs, (worker, done) => {
      void worker.run();
      return timed(() => Promise.all([add(jobs), done]));
    }),
  );
}

function latency(way: Way, jobs: number): Promise<number> {
  return working(way, 1, Infinity, async (worker) => {
    void worker.run();
    return timed(async () => {
      for (let n = 0; n < jobs; n += 1) {
        const completed = once(worker, 'completed');
        await way.inside(() => way.queue.add('n', DATA, OPTIONS));
        await completed;
      }
    });
  });
}

function waitedFor(way: Way, jobs: number): Promise<number> {
  return working(way, 1, Infinity, async (worker) => {
    void worker.run();
    const events = way.events();
    const one = async (ttl?: number): Promise<unknown> => {
      const job = await way.queue.add('n', DATA);
      return job.waitUntilFinished(events, ttl);
    };
    try {
      return await way.inside(async () => {
        await listened(one);
        return timed(async () => {
          for (let n = 0; n < jobs; n += 1) await one();
        });
      });
    } finally {
      await events.close();
    }
  });
}

// BullMQ says that it listens before it does: the first events may pass unheard.
async function listened(one: (ttl: number) => Promise<unknown>): Promise<void> {
  try {
    await one(500);
  } catch {
    await listened(one);
  }
}

async function working<T>(
  { worker: make }: Way,
  concurrency: number,
  jobs: number,
  use: (worker: RawWorker, done: Promise<void>) => Promise<T>,
  processor: Processor = nothing,
): Promise<T> {
  let left = jobs;
  let finish = (): void => undefined;
  let fail = (_error: Error): void => undefined;
  const done = new Promise<void>((resolve, reject) => {
    finish = resolve;
    fail = reject;
  });
  // Made, run and listened to outside of any tenant, as a service does it.
  const worker = make(processor, concurrency);
  worker.on('completed', () => {
    left -= 1;
    if (left === 0) finish();
  });
  worker.on('failed', (_job, error) => fail(error));
  worker.on('error', fail);
  await worker.waitUntilReady();
  try {
    return await use(worker, done);
  } finally {
    await worker.close();
  }
}

async function addAll({ queue, inside }: Way, jobs: number): Promise<void> {
  await inside(async () => {
    for (let n = 0; n < jobs / BULK; n += 1) await queue.addBulk(Array.from({ length: BULK }, () => ENTRY));
  });
}

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now();
  await work();
  return performance.now() - start;
}

import { setTimeout as wait } from 'node:timers/promises';
import { Queue as RawQueue } from 'bullmq';
import {
  controlTenant,
  type EraseRun,
  type Kept,
  type Outcome,
  type Inventory,
  type Verification,
} from '@tenantkit/core';
import type { Totals } from './erase-count.ts';
import { eraseLane, sweepControls } from './erase-control.ts';
import { countPerson, oddItems, sumOf, untoldItems, type PersonCount } from './erase-person-count.ts';
import { eraseEventsOf, lastEvent } from './erase-person-events.ts';
import { freeParents } from './erase-person-parents.ts';
import { erasePersonOnce } from './erase-person-pass.ts';
import type { Person, PersonWork } from './erase-person-read.ts';
import { assertNaming, oddKeys } from './key-types.ts';
import { HEADER } from './header.ts';
import { laneName } from './lanes/names.ts';
import { EVENTS, laneBase, type CheckedPlaces, type QueueKeyspace } from './places.ts';
import type { RawRedis } from './raw-redis.ts';
import type { Verifier } from './verify.ts';

/** What an eraser keeps of one lane and one person, as long as the process lives. */
interface Memory {
  /** The last event that its erasure has looked at. */
  until?: string;
  /** Whether a recount has found something behind it: then the next erasure looks everywhere. */
  isLeft?: boolean;
}

/** What one eraser remembers. */
export type Memories = Map<string, Memory>;

/** One call of the eraser about a person. */
export interface PersonCall extends CheckedPlaces {
  readonly raw: RawRedis;
  readonly person: Person;
  readonly memories: Memories;
  /** With what the jobs of a queue are verified. */
  readonly verifierOf: (queue: QueueKeyspace) => Verifier;
}

/** Of how many lanes and persons something is remembered. */
const REMEMBERED = 1_000;
/** Over a queue in which a pass still finds something. */
const MOST_PASSES = 100;
/** Between two looks at jobs that are being processed, in milliseconds. */
const POLL = 250;
/** The control job waits for this long, in milliseconds, so that no worker picks it up: a day. */
const CONTROL_DELAY = 86_400_000;

/** Counts what an erasure of the person would remove. */
export async function planPerson(call: PersonCall): Promise<Inventory> {
  const counted = await count(call, () => undefined);
  return { store: call.store, items: sumOf(counted), kept: untoldItems(counted) };
}

/**
 * Removes what is about the person, in passes until one finds nothing; jobs that a worker is processing are waited for.
 * Events come last in each queue: by then the jobs that they name are gone.
 */
export async function erasePerson(
  call: PersonCall,
  run: EraseRun,
  {
    totals,
    isRepeated,
    activeTimeout,
  }: {
    readonly totals: Totals;
    readonly isRepeated: boolean;
    readonly activeTimeout: number;
  },
): Promise<Outcome> {
  const kept: Kept[] = [];
  for (const queue of call.queues) {
    const work = workOf(call, queue, run.signal);
    const memory = memoryOf(call, queue);
    const isThorough = isRepeated || memory.isLeft === true;
    const deadline = performance.now() + activeTimeout;
    let active: ReadonlySet<string>;
    for (let pass = 1; ; pass += 1) {
      const done = await erasePersonOnce(work, isThorough);
      await freeParents(work, call.names, done.parents);
      active = done.active;
      totals.jobs += done.jobs;
      totals.keys += done.keys;
      await report();
      // What was moved or written again is met by the next pass; and so is what was added behind this one.
      if (done.jobs + done.keys + done.moved > 0 && pass < MOST_PASSES) continue;
      if (active.size === 0 || performance.now() >= deadline) break;
      await wait(POLL, undefined, { signal: run.signal });
    }
    const odd = await oddKeys(work.raw, work.base);
    if (!odd.has(EVENTS)) {
      memory.until = await lastEvent(work);
      totals.events += await eraseEventsOf(work);
      await report();
    }
    kept.push(...oddItems(odd.size));
    if (active.size > 0)
      kept.push({
        kind: 'jobs',
        count: active.size,
        why: `a worker of the queue ${queue.queue} is processing them; run the erasure again`,
      });
  }
  return { store: call.store, erased: items(totals), kept };

  async function report(): Promise<void> {
    await run.checkpoint.save(JSON.stringify(totals));
    run.progress({ kind: 'jobs', done: totals.jobs });
  }
}

/** Counts what is left of the person, and shows that it would see a job. */
export async function verifyPerson(call: PersonCall): Promise<Verification> {
  const counted = await count(call, ({ until }) => until);
  for (const [at, queue] of call.queues.entries()) {
    const { jobs = 0, keys = 0 } = counted[at] ?? {};
    memoryOf(call, queue).isLeft = jobs + keys > 0;
  }
  return {
    store: call.store,
    remaining: sumOf(counted),
    kept: untoldItems(counted),
    control: await control(call),
  };
}

async function count(
  call: PersonCall,
  until: (memory: Memory) => string | undefined,
): Promise<readonly PersonCount[]> {
  const counted: PersonCount[] = [];
  for (const queue of call.queues) {
    const verifier = call.verifierOf(queue);
    counted.push(await countPerson(workOf(call, queue), verifier, until(memoryOf(call, queue))));
  }
  return counted;
}

/** Plants a job about the person under a tenant that does not exist, in each queue, and counts with the same code. */
async function control(call: PersonCall): Promise<Verification['control']> {
  const tenant = controlTenant();
  const person = { ...call.person, tenant };
  let found = 0;
  for (const queue of call.queues) {
    await assertNaming(call.raw, queue);
    await sweepControls(call, queue);
    try {
      await plant(call, queue, person);
      const work = workOf({ ...call, person }, queue);
      const { jobs, keys, events } = await countPerson(work, call.verifierOf(queue), undefined);
      if (jobs === 1 && keys > 0 && events > 0) found += 1;
    } finally {
      await eraseLane(call, queue, tenant);
    }
  }
  return {
    planted: call.queues.length,
    found,
    method:
      'one delayed job about the person with one log row per queue, stored by BullMQ under a tenant that does not exist, whose header was not signed',
  };
}

async function plant(
  { raw, names }: PersonCall,
  { queue, prefix, keys }: QueueKeyspace,
  { tenant, subject }: Person,
): Promise<void> {
  const id = names.encode(tenant, 'control');
  const claims = Buffer.from(JSON.stringify([tenant, subject, null, Date.now()])).toString('base64url');
  const options = { jobId: id, delay: CONTROL_DELAY, [HEADER]: `v1.control.${claims}.` };
  await raw.run(async (connection) => {
    // First, so that the control of a recount that is killed is found again.
    await connection.zadd(keys.lanes, Date.now(), tenant);
    const bullmq = new RawQueue(laneName(queue, tenant), { connection, prefix, skipMetasUpdate: true });
    try {
      await bullmq.add('tk-control', {}, options);
      await bullmq.addJobLog(id, 'control');
    } finally {
      await bullmq.close();
    }
  });
}

function workOf({ raw, person }: PersonCall, queue: QueueKeyspace, signal?: AbortSignal): PersonWork {
  return { raw, queue, base: laneBase(queue, person.tenant), person, signal };
}

function memoryOf({ memories, person }: PersonCall, queue: QueueKeyspace): Memory {
  const name = `${laneBase(queue, person.tenant)}${person.subject}`;
  const known = memories.get(name) ?? {};
  const [oldest] = memories.keys();
  // What is forgotten costs a recount that counts more, and an erasure that is repeated.
  if (oldest !== undefined && memories.size >= REMEMBERED) memories.delete(oldest);
  memories.set(name, known);
  return known;
}

function items({ jobs, keys, events }: Totals): Outcome['erased'] {
  return [
    { kind: 'jobs', count: jobs },
    { kind: 'keys', count: keys },
    { kind: 'events', count: events },
  ];
}

import { randomUUID } from 'node:crypto';
import {
  QueueKeys,
  RedisQueueBackend,
  type IRedisTransaction,
  type JobJson,
  type MinimalJob,
  type RedisConnection,
} from 'bullmq';
import { z } from 'zod';
import type { StoreContext } from '../store.ts';

const IDS = ['p1', 'p2', 'p3'] as const;
const DATA = '"tk-probe"';
/** Whatever happens, the jobs of a probe are locked for as long as one script takes. */
const LOCK = 1_000;

/** How a job is handed over: its fields, names and values in turn, then its id. */
const handed = z.tuple([z.array(z.string()), z.string()], z.unknown());

/** As much of a client as a probe needs. */
interface ProbedClient {
  multi(): IRedisTransaction;
}

/**
 * Whether the installed scripts of BullMQ hand over jobs in the form in which they are verified here. They are run on
 * three jobs of a queue that exists only within one transaction: nobody else sees it, and nothing of it is left. A
 * worker that met another form only with real jobs would put each of them back, again and again.
 */
export async function isHandedOverAsKnown(
  client: ProbedClient,
  { prefix }: Pick<StoreContext, 'prefix'>,
  { lanePrefix }: { readonly lanePrefix: string },
): Promise<boolean> {
  const base = `${lanePrefix}:probe-${randomUUID()}`;
  const name = base.slice(prefix.length + 1);
  const keys = new QueueKeys(prefix);
  const multi = client.multi();
  const opts = { prefix, lockDuration: LOCK, connection: {} };
  // What BullMQ would send on its connection goes into the transaction.
  const connection = { client: Promise.resolve(multi) } as unknown as RedisConnection;
  const toKey = (type: string): string => keys.toKey(name, type);
  const queue = new RedisQueueBackend(connection, name, keys.getKeys(name), toKey, opts, undefined, false);
  let sent = 0;
  const replies = async (call: Promise<unknown>): Promise<number> => {
    // What is answered here is the transaction itself; the replies come when it is sent.
    await call;
    return sent++;
  };
  for (const id of IDS) await replies(queue.addJob(jobOf(id), id));
  const handovers = [
    await replies(queue.moveToActive('t', 'probe')),
    await replies(queue.moveToCompleted(jobOf('p1') as unknown as MinimalJob, 1, true, 't', true)),
    await replies(queue.moveToDelayed('p2', Date.now(), LOCK, 't', { fetchNext: true })),
  ];
  const left = [
    ...Object.values(keys.getKeys(name)),
    ...IDS.flatMap((id) => [toKey(id), toKey(`${id}:lock`)]),
  ];
  multi.del(...left);
  const all = (await multi.exec()) ?? [];
  return handovers.every((at, turn) => isHandover(all[at]?.[1], IDS[turn]));
}

function isHandover(reply: unknown, id: string | undefined): boolean {
  const parsed = handed.safeParse(reply);
  if (!parsed.success) return false;
  const [fields, found] = parsed.data;
  return found === id && fields.length % 2 === 0 && fields[fields.indexOf('data') + 1] === DATA;
}

function jobOf(id: string): JobJson {
  return { id, name: 'probe', data: DATA, timestamp: 1, opts: {} } as JobJson;
}

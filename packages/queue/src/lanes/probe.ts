import { randomUUID } from 'node:crypto';
import { QueueKeys, RedisQueueBackend, type JobJson, type MinimalJob, type RedisConnection } from 'bullmq';
import { z } from 'zod';
import type { StoreContext } from '../store.ts';
import { answersOf, isUnknownScript, transact, type Replies, type TransactionClient } from './transaction.ts';

const IDS = ['p1', 'p2', 'p3'] as const;
const DATA = '"tk-probe"';
/** Whatever happens, the jobs of a probe are locked for as long as one script takes. */
const LOCK = 1_000;

/** How a job is handed over: its fields, names and values in turn, then its id. */
const handed = z.tuple([z.array(z.string()), z.string()], z.unknown());

/**
 * Whether the installed scripts of BullMQ hand over jobs in the form in which they are verified here. They are run on
 * three jobs of a queue that exists only within one transaction: nobody else sees it, and nothing of it is left. A
 * worker that met another form only with real jobs would put each of them back, again and again.
 *
 * @throws what the server has answered in the place of a reply: one that is no master yet, or has no memory, says
 * nothing about BullMQ, and is to be asked again
 */
export async function isHandedOverAsKnown(
  client: TransactionClient,
  { prefix }: Pick<StoreContext, 'prefix'>,
  { lanePrefix }: { readonly lanePrefix: string },
): Promise<boolean> {
  let replies = await probe(client, prefix, lanePrefix);
  // By now their texts are sent again.
  if (replies.some(([error]) => isUnknownScript(error))) replies = await probe(client, prefix, lanePrefix);
  // All of them: where no job could be added there is none to be handed over, which would look like another form.
  const handovers = answersOf(replies).slice(IDS.length, -1);
  return handovers.every((reply, turn) => isHandover(reply, IDS[turn]));
}

async function probe(client: TransactionClient, prefix: string, lanePrefix: string): Promise<Replies> {
  const base = `${lanePrefix}:probe-${randomUUID()}`;
  const name = base.slice(prefix.length + 1);
  const keys = new QueueKeys(prefix);
  const toKey = (type: string): string => keys.toKey(name, type);
  const opts = { prefix, lockDuration: LOCK, connection: {} };
  const left = [
    ...Object.values(keys.getKeys(name)),
    ...IDS.flatMap((id) => [toKey(id), toKey(`${id}:lock`)]),
  ];
  return transact(client, async (multi) => {
    // What BullMQ would send on its connection goes into the transaction, which is what it answers then.
    const connection = { client: Promise.resolve(multi) } as unknown as RedisConnection;
    const queue = new RedisQueueBackend(connection, name, keys.getKeys(name), toKey, opts, undefined, false);
    for (const id of IDS) await queue.addJob(jobOf(id), id);
    await queue.moveToActive('t', 'probe');
    await queue.moveToCompleted(jobOf('p1') as unknown as MinimalJob, 1, true, 't', true);
    await queue.moveToDelayed('p2', Date.now(), LOCK, 't', { fetchNext: true });
    multi.del(...left);
  });
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

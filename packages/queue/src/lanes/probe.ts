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
import { replies } from '../flows/scripts.ts';
import type { StoreContext } from '../store.ts';
import { installedOn } from './fused.ts';
import type { ScriptClient } from './scripts.ts';

const IDS = ['p1', 'p2', 'p3'] as const;
const DATA = '"tk-probe"';
/** Whatever happens, the jobs of a probe are locked for as long as one script takes. */
const LOCK = 1_000;

/** How a job is handed over: its fields, names and values in turn, then its id. */
const handed = z.tuple([z.array(z.string()), z.string()], z.unknown());

/** As much of a client as a probe needs. */
type ProbedClient = ScriptClient & { multi(): IRedisTransaction };

/** BullMQ's backend of the queue of a probe, which says what it has sent. */
class ProbedQueue extends RedisQueueBackend {
  readonly commands: string[] = [];

  override execCommand(...call: Parameters<RedisQueueBackend['execCommand']>): unknown {
    this.commands.push(`${call[1]}:${this.version}`);
    return super.execCommand(...call);
  }
}

/**
 * Whether the installed scripts of BullMQ hand over jobs in the form in which they are verified here. They are run on
 * three jobs of a queue that exists only within one transaction: nobody else sees it, and nothing of it is left. A
 * worker that met another form only with real jobs would put each of them back, again and again.
 *
 * @throws what the server has answered in the place of a reply: one that is no master yet, or has no memory, says
 * nothing about BullMQ, and is to be asked again
 */
export async function isHandedOverAsKnown(
  client: ProbedClient,
  { prefix }: Pick<StoreContext, 'prefix'>,
  { lanePrefix }: { readonly lanePrefix: string },
): Promise<boolean> {
  try {
    return await probe(client, prefix, lanePrefix);
  } catch (error) {
    // By now their texts are sent again.
    if (error instanceof Error && error.message.startsWith('NOSCRIPT'))
      return probe(client, prefix, lanePrefix);
    throw error;
  }
}

async function probe(client: ProbedClient, prefix: string, lanePrefix: string): Promise<boolean> {
  const base = `${lanePrefix}:probe-${randomUUID()}`;
  const name = base.slice(prefix.length + 1);
  const keys = new QueueKeys(prefix);
  const multi = client.multi();
  const opts = { prefix, lockDuration: LOCK, connection: {} };
  // What BullMQ would send on its connection goes into the transaction.
  const connection = { client: Promise.resolve(multi) } as unknown as RedisConnection;
  const toKey = (type: string): string => keys.toKey(name, type);
  const queue = new ProbedQueue(connection, name, keys.getKeys(name), toKey, opts, undefined, false);
  let sent = 0;
  const placeOf = async (call: Promise<unknown>): Promise<number> => {
    // What is answered here is the transaction itself; the replies come when it is sent.
    await call;
    return sent++;
  };
  for (const id of IDS) await placeOf(queue.addJob(jobOf(id), id));
  const handovers = [
    await placeOf(queue.moveToActive('t', 'probe')),
    await placeOf(queue.moveToCompleted(jobOf('p1') as unknown as MinimalJob, 1, true, 't', true)),
    await placeOf(queue.moveToDelayed('p2', Date.now(), LOCK, 't', { fetchNext: true })),
  ];
  const left = [
    ...Object.values(keys.getKeys(name)),
    ...IDS.flatMap((id) => [toKey(id), toKey(`${id}:lock`)]),
  ];
  multi.del(...left);
  try {
    const all = await repliesOf(multi);
    return handovers.every((at, turn) => isHandover(all[at], IDS[turn]));
  } catch (error) {
    defineAgain(client, queue.commands);
    throw error;
  }
}

/** @throws the first error among the replies */
async function repliesOf(multi: IRedisTransaction): Promise<readonly unknown[]> {
  try {
    return await replies(multi);
  } catch (error) {
    // That of the transaction says only that something was refused before.
    const { previousErrors } = Object(error) as { readonly previousErrors?: readonly unknown[] };
    throw previousErrors?.[0] ?? error;
  }
}

/**
 * Lets a connection send the texts of scripts once more. ioredis takes a script for known to the server when it has
 * written it, also into a transaction that was then refused, or to the server that stood there before; and in a
 * transaction it does not take that back. Each later one would fail with NOSCRIPT, until the process ends.
 */
function defineAgain(client: ScriptClient, commands: readonly string[]): void {
  for (const command of new Set(commands)) {
    const script = installedOn(client, command);
    if (script !== undefined) client.defineCommand(command, script);
  }
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

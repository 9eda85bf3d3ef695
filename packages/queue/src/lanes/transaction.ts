import type { IRedisTransaction } from 'bullmq';
import { installedOn } from './fused.ts';
import type { ScriptClient } from './scripts.ts';

/** What `EXEC` has answered, command by command. */
export type Replies = Exclude<Awaited<ReturnType<IRedisTransaction['exec']>>, null>;

/** As much of a client as a transaction needs. */
export type TransactionClient = ScriptClient & { multi(): IRedisTransaction; readonly isCluster: boolean };

/** Puts commands into a transaction. */
type Fill = (multi: IRedisTransaction) => void | Promise<void>;

/** Scripts of BullMQ, whose names end in its version, and of ours. Those of others on the same connection stay theirs. */
const OURS = /^tenantkit:|:\d+\.\d+\.\d+/;

/**
 * Sends commands as one transaction.
 *
 * ioredis takes a script for known to the server when it has written it: also into a transaction that was then refused
 * (by a replica, or for want of memory), or to the server that stood there before. Inside a transaction it does not take
 * that back, and each later one would fail with NOSCRIPT for as long as the connection lives. So behind such an error the
 * texts are sent once more, by the next one; at once where nothing of this one was done.
 *
 * @param fill - puts the commands in; called twice where nothing was done at first
 * @throws what the server has refused the transaction for
 */
export async function transact(client: TransactionClient, fill: Fill): Promise<Replies> {
  const replies = await send(client, await filled(client, fill));
  if (!replies.some(([error]) => isUnknownScript(error))) return replies;
  defineAgain(client);
  return replies.every(([error]) => isUnknownScript(error))
    ? send(client, await fillOf(client, fill))
    : replies;
}

/**
 * A transaction whose scripts the server knows, or is told. Of one that knows some of them it does a part: a server that has
 * forgotten (SCRIPT FLUSH, another one behind a proxy, eviction since Redis 7.4) would add a parent and not its child,
 * and let it run without.
 */
async function filled(client: TransactionClient, fill: Fill): Promise<IRedisTransaction> {
  const used = new Set<string>();
  const multi = await fillOf(client, fill, used);
  if (await areKnown(client, [...used])) return multi;
  defineAgain(client);
  return fillOf(client, fill);
}

/** @param used - takes the names of the scripts */
async function fillOf(client: TransactionClient, fill: Fill, used?: Set<string>): Promise<IRedisTransaction> {
  const multi = client.multi();
  const run = multi.runCommand.bind(multi);
  multi.runCommand = (name, args) => {
    used?.add(name);
    return run(name, args);
  };
  await fill(multi);
  return multi;
}

/** @param names - of scripts; one of which the connection shows no hash counts as known */
async function areKnown(client: TransactionClient, names: readonly string[]): Promise<boolean> {
  const hashes = names.flatMap((name) => installedOn(client, name)?.sha ?? []);
  // Of a cluster any server would answer, and not the one that is asked then.
  if (client.isCluster || hashes.length === 0) return true;
  const ask = Reflect.get(client, 'script') as (...args: readonly string[]) => Promise<unknown>;
  const known = await ask('EXISTS', ...hashes);
  return Array.isArray(known) && known.every((one) => one === 1);
}

async function send(client: TransactionClient, multi: IRedisTransaction): Promise<Replies> {
  try {
    const replies = await multi.exec();
    if (replies === null) throw new Error('the transaction was given up');
    return replies;
  } catch (error) {
    defineAgain(client);
    // That of the transaction says only that something was refused before.
    const { previousErrors } = Object(error) as { readonly previousErrors?: readonly unknown[] };
    throw previousErrors?.[0] ?? error;
  }
}

/** The replies without what may have gone wrong. @throws what one of the commands has met */
export function answersOf(replies: Replies): readonly unknown[] {
  return replies.map(([error, reply]) => {
    if (error !== null) throw error;
    return reply;
  });
}

export function isUnknownScript(error: unknown): boolean {
  return error instanceof Error && error.message.startsWith('NOSCRIPT');
}

function defineAgain(client: ScriptClient): void {
  const installed = Object(Reflect.get(client, 'scriptsSet')) as object;
  for (const name of Object.keys(installed)) {
    const script = OURS.test(name) ? installedOn(client, name) : undefined;
    if (script !== undefined) client.defineCommand(name, script);
  }
}

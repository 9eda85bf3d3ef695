import type { IRedisTransaction } from 'bullmq';
import { installedOn } from './fused.ts';
import type { ScriptClient } from './scripts.ts';

/** What `EXEC` has answered, command by command. */
export type Replies = Exclude<Awaited<ReturnType<IRedisTransaction['exec']>>, null>;

/** As much of a client as a transaction needs. */
export type TransactionClient = ScriptClient & { multi(): IRedisTransaction };

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
  const replies = await send(client, fill);
  if (!replies.some(([error]) => isUnknownScript(error))) return replies;
  defineAgain(client);
  return replies.every(([error]) => isUnknownScript(error)) ? send(client, fill) : replies;
}

async function send(client: TransactionClient, fill: Fill): Promise<Replies> {
  const multi = client.multi();
  await fill(multi);
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

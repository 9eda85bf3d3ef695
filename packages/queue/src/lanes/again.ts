import { SignatureError } from '@tenantkit/core';
import { z } from 'zod';
import { HEADER, signHeader } from '../header.ts';
import { signerOf } from '../keys.ts';
import { lastStart, type Waits } from '../replay.ts';
import { isIteration } from '../schedulers/ids.ts';
import type { StoreContext } from '../store.ts';
import { bindingOf, parseOptions, verifyJob, type JobHash } from '../verify.ts';
import { replaceData } from '../views/scripts.ts';
import type { Lane } from './lane.ts';
import { defineScripts, type ScriptClient } from './scripts.ts';
import { transact } from './transaction.ts';

/**
 * Replaces the options of finished jobs that are still those that were read. KEYS: the state. ARGV: what the keys of the
 * lane begin with, then id, options that were read, options to be stored, in turn. Answers the ids of those that are others.
 */
const RESIGN = `
local others = {}
for at = 2, #ARGV, 3 do
  local key = ARGV[1] .. ARGV[at]
  if redis.call('ZSCORE', KEYS[1], ARGV[at]) and redis.pcall('HGET', key, 'opts') == ARGV[at + 1] then
    redis.call('HSET', key, 'opts', ARGV[at + 2])
  else
    others[#others + 1] = ARGV[at]
  end
end
return others`;

/**
 * The first jobs of a state, and the score of the last of them. KEYS: the state. ARGV: highest score, how many.
 */
const FINISHED = `
local ids = redis.call('ZRANGEBYSCORE', KEYS[1], 0, ARGV[1], 'LIMIT', 0, ARGV[2])
ids[#ids + 1] = #ids > 0 and redis.call('ZSCORE', KEYS[1], ids[#ids]) or '0'
return ids`;

const COMMANDS = {
  finished: { name: 'tenantkit:again:finished:1', numberOfKeys: 1, lua: FINISHED },
  resign: { name: 'tenantkit:again:resign:1', numberOfKeys: 1, lua: RESIGN },
} as const;

const othersReply = z.array(z.string());
const finishedReply = z.array(z.string()).min(1);

/** How many hashes are read at once. */
const READ = 100;

/** Where a job is signed again. */
interface Home {
  readonly context: StoreContext;
  readonly lane: Lane;
}

/** A job that is to be stored with another header. */
interface Resigned {
  readonly id: string;
  readonly hash: JobHash;
  readonly opts: string;
}

/**
 * Lets finished jobs run again: signs each of them anew, since a worker that has ended one runs it again under no other
 * condition, and calls BullMQ's script, in one transaction. Those that do not verify are moved as they are, and refused.
 *
 * @param move - BullMQ's script, put into the transaction
 * @param hasMoved - whether by its answer it has moved them
 * @returns what it has answered
 */
export async function again(
  home: Home,
  state: string,
  ids: readonly string[],
  move: (target: Parameters<Lane['execCommand']>[0]) => unknown,
  hasMoved: (answer: unknown) => boolean,
): Promise<unknown> {
  const { lane } = home;
  const resigned: Resigned[] = [];
  for (let at = 0; at < ids.length; at += READ) {
    const piece = ids.slice(at, at + READ);
    for (const [on, hash] of (await readJobs(lane, piece)).entries()) {
      const job = signAnew(home, hash, piece[on] ?? '', Date.now());
      if (job !== undefined) resigned.push(job);
    }
  }
  const client = await scripts(lane);
  const given = resigned.flatMap(({ id, hash, opts }) => [id, hash['opts'] ?? '', opts]);
  const [signed, moved] = await transact(client, (multi) => {
    multi.runCommand(COMMANDS.resign.name, [lane.toKey(state), lane.toKey(''), ...given]);
    move(multi);
  });
  if (signed === undefined || moved === undefined) throw new Error('the transaction was given up');
  if (moved[0] !== null) throw moved[0];
  if (signed[0] !== null) throw signed[0];
  // Somebody has replaced the data of these meanwhile, signed for the time of before: they would be refused.
  if (hasMoved(moved[1])) {
    for (const id of othersReply.parse(signed[1])) await signStored(home, id, Date.now());
  }
  return moved[1];
}

/** The jobs of a state that finished by then, the oldest first, and when the last of them did. */
export async function finishedBy(
  lane: Lane,
  state: string,
  timestamp: number,
  most: number,
): Promise<{ readonly ids: readonly string[]; readonly last: number }> {
  const client = await scripts(lane);
  const reply: unknown = await client.runCommand(COMMANDS.finished.name, [
    lane.toKey(state),
    timestamp,
    most,
  ]);
  const found = finishedReply.parse(reply);
  return { ids: found.slice(0, -1), last: Number(found.at(-1)) };
}

/**
 * Makes sure that a job which is to begin at a time, in milliseconds, is still accepted then, and for half as long as any
 * other job behind that. What does not verify is left as it is.
 *
 * @throws {@link ConfigError} when it would not be, and the keys here cannot sign
 */
export async function acceptedAt(home: Home, id: string, due: number): Promise<void> {
  const { context, lane } = home;
  const [hash] = await readJobs(lane, [id]);
  const last = lastOf(home, hash ?? {}, id);
  if (last === undefined || due + context.maxAge / 2 <= last) return;
  if (due <= last && context.ring.current.sign === undefined) return;
  signerOf(context.ring, 'moveToDelayed');
  const { delay = 0 } = parseOptions(hash?.['opts']) as Waits;
  await signStored(home, id, Math.max(Date.now(), Math.ceil(due) - delay));
}

function lastOf({ context, lane }: Home, hash: JobHash, id: string): number | undefined {
  try {
    const claims = verifyJob(context, hash, id, lane.tenant);
    return lastStart(claims, id, parseOptions(hash['opts']), context.maxAge);
  } catch (error) {
    if (error instanceof SignatureError) return undefined;
    throw error;
  }
}

/** Signs a job anew where it is. Of two who change it at once one gets through each time. */
async function signStored(home: Home, id: string, issuedAt: number): Promise<void> {
  for (;;) {
    const [hash = {}] = await readJobs(home.lane, [id]);
    const job = signAnew(home, hash, id, issuedAt);
    if (job === undefined) return;
    const { opts = '', data = '' } = hash;
    if ((await replaceData(home.lane, id, opts, job.opts, data)) !== 'changed') return;
  }
}

/** `undefined` for what does not verify: nobody's forgery is signed. */
function signAnew(
  { context, lane }: Home,
  hash: JobHash,
  id: string,
  issuedAt: number,
): Resigned | undefined {
  const { prefix, queue, ring } = context;
  let claims;
  try {
    claims = verifyJob(context, hash, id, lane.tenant);
  } catch (error) {
    if (error instanceof SignatureError) return undefined;
    throw error;
  }
  const stored = parseOptions(hash['opts']);
  // Else the time at which it was signed is the one at which it was added, which must not change.
  const isTimed = stored['timestamp'] !== undefined || isIteration(id);
  const options = isTimed ? stored : { ...stored, timestamp: claims.issuedAt };
  // Another one, by whichever clock: by it a worker knows the job from the one that it has ended.
  const other = issuedAt === claims.issuedAt ? issuedAt + 1 : issuedAt;
  const binding = bindingOf(hash, options, { prefix, queue, id });
  const header = signHeader(ring, { ...claims, issuedAt: other }, binding);
  return { id, hash, opts: JSON.stringify({ ...options, [HEADER]: header }) };
}

async function readJobs(lane: Lane, ids: readonly string[]): Promise<readonly JobHash[]> {
  const client = await lane.client;
  return Promise.all(ids.map((id): Promise<JobHash> => client.hgetall(lane.toKey(id))));
}

async function scripts(lane: Lane): Promise<Awaited<Lane['client']>> {
  const client = await lane.client;
  await defineScripts(client satisfies ScriptClient, COMMANDS);
  return client;
}

import type { IRedisClient } from 'bullmq';
import { breach, isId, tenantId } from '@tenantkit/core';
import { z } from 'zod';
import type { TenantLimits } from '../views/limits.ts';
import { PICK } from './pick-lua.ts';
import { ADMIT, DISARM, LOCK, NOTE, PARK, READMIT, REGISTER, STEP, SWEEP, TOUCH } from './lua.ts';
import { laneMeta, type LaneKeys } from './names.ts';

/** As much of BullMQ's client as a script of ours needs. */
export type ScriptClient = Pick<IRedisClient, 'defineCommand' | 'runCommand'>;

/** A client, or a pipeline that is sent later. */
export type ScriptTarget = { runCommand(name: string, args: (string | number)[]): unknown };

/** What a look at the lanes has found. */
export interface Picked {
  /** Where the next jobs are to be taken from, one entry per job, in this order. */
  readonly turns: readonly string[];
  /** How many lanes may have something to run, those of the turns included. */
  readonly ready: number;
  /** When the first lane is due that has nothing to run now, in milliseconds; 0 when there is none. */
  readonly due: number;
  /** Of the lanes that were looked at: those with a limit of concurrency, which are ready again when a job ends. */
  readonly capped: readonly string[];
  /** Of the lanes that were looked at: those whose limits or keys in Redis are none. Nothing of them runs. */
  readonly unreadable: readonly string[];
}

/** What a sweep of some lanes has found. */
export interface Swept {
  /** Lanes that have jobs in work, so that some of them may be stalled. */
  readonly active: readonly string[];
  /** How many lanes had work that nobody had noted. */
  readonly found: number;
  /** How many lanes were empty and old, and are no longer looked at. */
  readonly retired: number;
}

// No name of ours may meet one that the owner of the connection has defined on it.
const COMMANDS = {
  pick: { name: 'tenantkit:lanes:pick:3', numberOfKeys: 6, lua: PICK },
  touch: { name: 'tenantkit:lanes:touch:2', numberOfKeys: 3, lua: TOUCH },
  sweep: { name: 'tenantkit:lanes:sweep:1', numberOfKeys: 4, lua: SWEEP },
  park: { name: 'tenantkit:lanes:park:1', numberOfKeys: 2, lua: PARK },
  admit: { name: 'tenantkit:lanes:admit:1', numberOfKeys: 1, lua: ADMIT },
  readmit: { name: 'tenantkit:lanes:readmit:1', numberOfKeys: 1, lua: READMIT },
  lock: { name: 'tenantkit:lanes:lock:1', numberOfKeys: 1, lua: LOCK },
  step: { name: 'tenantkit:lanes:step:1', numberOfKeys: 1, lua: STEP },
  register: { name: 'tenantkit:lanes:register:1', numberOfKeys: 2, lua: REGISTER },
  note: { name: 'tenantkit:lanes:note:1', numberOfKeys: 1, lua: NOTE },
  disarm: { name: 'tenantkit:lanes:disarm:1', numberOfKeys: 1, lua: DISARM },
} as const;

const count = z.number().int().nonnegative();
const tenants = z.array(tenantId);
const pickReply = z.tuple([tenants, count, count, tenants, tenants], z.unknown());
const stepReply = z.tuple([z.string(), z.array(z.string())]);
const sweepReply = z.tuple([tenants, count, count]);

/** Scripts by what they are called in the code. */
export type Scripts = Readonly<
  Record<string, { readonly name: string; readonly numberOfKeys: number; readonly lua: string }>
>;

const defined = new WeakMap<ScriptClient, WeakSet<Scripts>>();

/**
 * Makes scripts known to a connection, once: it sends their hashes from then on, and their texts where the server does
 * not know them.
 *
 * @returns what has to be waited for before they are used: see {@link settling}
 */
export function defineScripts(client: ScriptClient, scripts: Scripts): Promise<void> | undefined {
  const known = defined.get(client) ?? new WeakSet<Scripts>();
  if (!known.has(scripts)) {
    for (const script of Object.values(scripts)) defineScript(client, script);
    defined.set(client, known.add(scripts));
  }
  return settling(client);
}

/** The same for the scripts of this file. */
export function defineLaneScripts(client: ScriptClient): Promise<void> | undefined {
  return defineScripts(client, COMMANDS);
}

const settlings = new WeakMap<ScriptClient, Promise<void>>();

/** Makes one script known to a connection, in the place of the one that had its name. */
export function defineScript(client: ScriptClient, { name, numberOfKeys, lua }: Scripts[string]): void {
  client.defineCommand(name, { numberOfKeys, lua });
  const collecting = client as Partial<AutoPipelined>;
  if (collecting.options?.enableAutoPipelining !== true) return;
  const forget = (): void => {
    if (settlings.get(client) === passed) settlings.delete(client);
  };
  // Whether it comes back or fails: what was collected with it is sent by then.
  const passed: Promise<void> | undefined = collecting.ping?.().then(forget, forget);
  if (passed !== undefined) settlings.set(client, passed);
}

/**
 * What the use of a script has to wait for that was made known to a connection a moment ago, if anything. With the option
 * `enableAutoPipelining` ioredis collects commands in a pipeline that has no other scripts than those that were known
 * when it was begun, by whomever: one that it does not have throws in the midst of its book-keeping, and ends the process
 * with that.
 */
export function settling(client: ScriptClient): Promise<void> | undefined {
  return settlings.get(client);
}

/** As much of a client of ioredis as says whether it collects commands. */
interface AutoPipelined {
  readonly options: { readonly enableAutoPipelining?: boolean };
  ping(): Promise<unknown>;
}

/**
 * Asks for turns.
 *
 * @param client - knows the scripts: {@link defineLaneScripts}
 * @param now - in milliseconds, by the clock that BullMQ's scripts are given too
 * @param wanted - how many turns at most, 1 or more
 * @param byDefault - the limits of lanes that have none of their own
 * @throws {@link IsolationBreachError} on a reply of another shape than ours
 */
export async function pick(
  client: ScriptClient,
  keys: LaneKeys,
  now: number,
  wanted: number,
  byDefault: TenantLimits = {},
): Promise<Picked> {
  const { ready, due, vt, wake, meta, limiter, lanePrefix } = keys;
  const reply: unknown = await client.runCommand(COMMANDS.pick.name, [
    ready,
    due,
    vt,
    wake,
    meta,
    limiter,
    lanePrefix,
    now,
    wanted,
    ...limitArguments(byDefault),
  ]);
  return pickedOf(reply, wanted);
}

/** Limits as a pick is given them; empty for none. */
export function limitArguments({ concurrency, rate, weight }: TenantLimits): (string | number)[] {
  return [concurrency ?? '', rate?.max ?? '', rate?.duration ?? '', weight ?? ''];
}

/**
 * Reads the reply to a pick.
 *
 * @throws {@link IsolationBreachError} on a reply of another shape than ours
 */
export function pickedOf(reply: unknown, wanted: number): Picked {
  const [turns, size, first, capped, unreadable] = parsed(pickReply, reply, 'pick');
  // More turns than were asked for would pass every bound that is built on it.
  if (turns.length > wanted) throw unknownReply('pick');
  return { turns, ready: size, due: first, capped, unreadable };
}

/** Notes that lanes may have something to run, behind what was written before on the same connection. */
export function touch(target: ScriptTarget, keys: LaneKeys, touched: readonly string[]): unknown {
  const { ready, wake, lanes, lanePrefix } = keys;
  return target.runCommand(COMMANDS.touch.name, [ready, wake, lanes, lanePrefix, Date.now(), ...touched]);
}

/** How many entries of a lane's events stream are kept. */
export interface KeptEvents {
  readonly count: number;
  /** Whether the service has said so; else what is stored already holds. */
  readonly isSaid: boolean;
}

/** Registers a lane, by now in milliseconds. */
export async function register(
  client: ScriptClient,
  keys: LaneKeys,
  tenant: string,
  now: number,
  { count: most, isSaid }: KeptEvents,
): Promise<void> {
  const meta = laneMeta(keys, tenant);
  await client.runCommand(COMMANDS.register.name, [keys.lanes, meta, tenant, now, most, isSaid ? 1 : 0]);
}

/** Notes that the jobs of a tenant are in another Redis, by now in milliseconds. */
export async function note(
  client: ScriptClient,
  { placed }: LaneKeys,
  tenant: string,
  now: number,
): Promise<void> {
  await client.runCommand(COMMANDS.note.name, [placed, tenant, now]);
}

/**
 * Looks at some lanes for work that nobody has noted.
 *
 * @param retireBefore - lanes that hold nothing are retired when they were registered before this, in milliseconds
 * @throws {@link IsolationBreachError} on a reply of another shape than ours
 */
export async function sweep(
  client: ScriptClient,
  keys: LaneKeys,
  retireBefore: number,
  looked: readonly string[],
): Promise<Swept> {
  const { ready, due, lanes, wake, lanePrefix } = keys;
  const reply: unknown = await client.runCommand(COMMANDS.sweep.name, [
    ready,
    due,
    lanes,
    wake,
    lanePrefix,
    retireBefore,
    ...looked,
  ]);
  const [active, found, retired] = parsed(sweepReply, reply, 'sweep');
  return { active, found, retired };
}

/** Puts a lane aside until a time, in milliseconds, although it may have something to run. */
export async function park(
  client: ScriptClient,
  keys: LaneKeys,
  tenant: string,
  until: number,
): Promise<void> {
  await client.runCommand(COMMANDS.park.name, [keys.ready, keys.due, tenant, Math.ceil(until)]);
}

/** How many jobs of all lanes together may begin in how many milliseconds. */
export interface Limit {
  readonly max: number;
  readonly duration: number;
}

/** Counts one job against the limit. @returns for how many milliseconds there is none left, or 0 */
export async function admit(client: ScriptClient, keys: LaneKeys, limit: Limit): Promise<number> {
  const { max, duration } = limit;
  const reply: unknown = await client.runCommand(COMMANDS.admit.name, [keys.limiter, max, duration]);
  return parsed(count, reply, 'admit');
}

/** Takes the count back when there was no job after all. */
export async function readmit(client: ScriptClient, keys: LaneKeys): Promise<void> {
  await client.runCommand(COMMANDS.readmit.name, [keys.limiter]);
}

/**
 * Takes fields from a job, and its deduplication.
 *
 * @param base - what the keys of the job's lane begin with
 */
export async function disarm(
  client: ScriptClient,
  base: string,
  id: string,
  fields: readonly string[],
): Promise<void> {
  await client.runCommand(COMMANDS.disarm.name, [base + id, base, id, ...fields]);
}

/** Takes the lock of whoever sweeps, for some milliseconds. @returns whether nobody else has it */
export async function lockSweep(client: ScriptClient, keys: LaneKeys, duration: number): Promise<boolean> {
  return (await client.runCommand(COMMANDS.lock.name, [keys.sweep, duration])) === 1;
}

/** One step over the registered lanes: the next cursor, `'0'` at the end, and tenants. One may come twice. */
export async function stepLanes(
  client: ScriptClient,
  keys: LaneKeys,
  cursor: string,
  about: number,
): Promise<{ readonly next: string; readonly tenants: readonly string[] }> {
  const reply: unknown = await client.runCommand(COMMANDS.step.name, [keys.lanes, cursor, about]);
  const [next, found] = parsed(stepReply, reply, 'step');
  // Whoever writes to Redis may have written anything; of what is no tenant no key is made.
  return { next, tenants: found.filter(isId) };
}

function parsed<T>(schema: z.ZodType<T>, reply: unknown, operation: string): T {
  const result = schema.safeParse(reply);
  if (result.success) return result.data;
  throw unknownReply(operation);
}

// What such a reply names could be any key: no queue is made of it.
function unknownReply(operation: string): Error {
  return breach('queue', operation, 'the reply of a script has a shape that is not known');
}

import { Redis, type RedisOptions } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { freshRedis } from '@tenantkit/testing';
import { Redis as Raw } from 'ioredis';
import { inspect } from 'node:util';
import { expect, inject } from 'vitest';
import type { Described } from './grammar.ts';
import { play, type Outcome, type Step } from './replay.ts';

/** What some tenants call in one turn of the event loop, before any reply has come. */
export interface Turn {
  /** Through which of the shared clients: commands of two clients have no order among each other. */
  readonly client: 'plain' | 'autopipelining';
  readonly steps: readonly Step[];
}

/**
 * The same tenants twice: in one database through the guarded clients that they share, and each in a Redis of its
 * own through plain ioredis, which is what it shall look like to them.
 */
export class Worlds implements AsyncDisposable {
  readonly #described: ReadonlyMap<string, Described>;
  readonly #shared: Readonly<Record<Turn['client'], Redis>>;
  readonly #witness: Raw;
  readonly #own: ReadonlyMap<string, Raw>;
  readonly #cleanup: readonly (() => Promise<void>)[];
  readonly #history: { readonly tenant: string; readonly args: readonly string[]; readonly said: string }[] =
    [];
  /** How many commands were sent in both worlds, and how many had an error for a reply there. */
  readonly counts = { sent: 0, failed: 0 };
  /** The commands that were sent at least once, and those that were refused. */
  readonly seen = { sent: new Set<string>(), refused: new Map<string, string>() };

  private constructor(
    described: readonly Described[],
    shared: Readonly<Record<Turn['client'], Redis>>,
    witness: Raw,
    own: ReadonlyMap<string, Raw>,
    cleanup: readonly (() => Promise<void>)[],
  ) {
    this.#described = new Map(described.map((its) => [its.name, its]));
    this.#shared = shared;
    this.#witness = witness;
    this.#own = own;
    this.#cleanup = cleanup;
  }

  static async open(tenants: readonly string[], described: readonly Described[]): Promise<Worlds> {
    const server = inject('servers').redis;
    const databases = await Promise.all(['shared', ...tenants].map(() => freshRedis(server)));
    const common = databases[0]?.url ?? '';
    const own = new Map(tenants.map((tenant, place) => [tenant, new Raw(databases[place + 1]?.url ?? '')]));
    const options: RedisOptions = { enableAutoPipelining: true };
    const shared = {
      plain: new Redis(common),
      autopipelining: new Redis(common, options as RedisOptions & { replyMapping?: 'legacy' }),
    };
    const witness = new Raw(common);
    return new Worlds(described, shared, witness, own, [
      async () => {
        for (const client of [...Object.values(shared), witness, ...own.values()]) client.disconnect();
        await Promise.all(databases.map(({ cleanup }) => cleanup()));
      },
    ]);
  }

  /** Begins anew, with nothing stored. */
  async clear(): Promise<void> {
    this.#history.length = 0;
    await Promise.all([this.#witness, ...this.#own.values()].map((client) => client.flushdb()));
  }

  /** Runs one turn in both worlds. @throws where a tenant could tell them apart */
  async play({ client, steps }: Turn): Promise<void> {
    const common = await Promise.all(
      steps.map((step) => withTenant(step.tenant, () => play(this.#shared[client], step))),
    );
    const sent = steps.map((step, place) => this.#admitted(step, common[place] ?? []));
    const expected = await Promise.all(
      sent.map(async ({ step }) => (step.calls.length === 0 ? [] : play(this.#of(step.tenant), step))),
    );
    for (const [place, { step, outcomes }] of sent.entries())
      this.#compare(step, outcomes, expected[place] ?? []);
  }

  /** Compares all that is stored. @throws where it differs, or something is stored that is no tenant's */
  async compare(): Promise<void> {
    const prefixed = await contents(this.#witness, () => true);
    const union: Record<string, unknown> = {};
    for (const [tenant, own] of this.#own) {
      for (const [key, value] of Object.entries(await contents(own, () => true)))
        union[`tk:${tenant}:${key}`] = value;
    }
    expect(prefixed).toEqual(union);
    await Promise.all(
      [...this.#own].map(async ([tenant, own]) => {
        const [keys, size, listed] = await withTenant(tenant, async () => {
          const redis = this.#shared.plain;
          return [
            await redis.keysBuffer('*'),
            await redis.dbsize(),
            (await redis.scanBufferStream().toArray()).flat(),
          ] as const;
        });
        const there = sorted(await own.keysBuffer('*'));
        expect(sorted(keys)).toEqual(there);
        expect([...new Set(sorted(listed as Buffer[]))]).toEqual(there);
        expect(size).toBe(there.length);
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const cleanup of this.#cleanup) await cleanup();
  }

  #of(tenant: string): Raw {
    return this.#own.get(tenant) as Raw;
  }

  // What was refused was not sent, and so it is not in the other world either; a transaction only as a whole.
  #admitted(step: Step, outcomes: readonly Outcome[]): { step: Step; outcomes: readonly Outcome[] } {
    const kept = step.calls.flatMap((call, place) => {
      const outcome = outcomes[place] ?? NONE;
      const refused = 'error' in outcome && outcome.error.code === 'OPERATION_REFUSED';
      if (refused) this.seen.refused.set(this.#nameOf(call), outcome.error.message);
      return refused ? [] : [{ call, outcome }];
    });
    const isWhole = step.form !== 'multi' || kept.length === step.calls.length;
    const used = isWhole ? kept : [];
    for (const { call } of used) this.seen.sent.add(this.#nameOf(call));
    return {
      step: { ...step, calls: used.map(({ call }) => call) },
      outcomes: used.map(({ outcome }) => outcome),
    };
  }

  #compare(step: Step, common: readonly Outcome[], own: readonly Outcome[]): void {
    for (const [place, call] of step.calls.entries()) {
      const [ours, theirs] = [common[place], own[place]] as [Outcome, Outcome];
      this.counts.sent += 1;
      if ('error' in theirs) this.counts.failed += 1;
      const its = this.#described.get(this.#nameOf(call)) as Described;
      const [found, expected] = [plain(ours, its, step.tenant), plain(theirs, its, step.tenant)];
      const said = `${step.form} ${inspect([call.name, ...call.args], FLAT)}: ${inspect(expected, FLAT)}`;
      expect(found, `${said}, in ${step.tenant}, after\n${this.#before(step.tenant, call.args)}`).toEqual(
        expected,
      );
      this.#history.push({ tenant: step.tenant, args: call.args.map(String), said });
    }
  }

  // What was done before to the same keys; a value that happens to be the same text does no harm here.
  #before(tenant: string, args: readonly (string | Buffer)[]): string {
    const words = new Set(args.map(String).filter((word) => word !== ''));
    return this.#history
      .filter((entry) => entry.tenant === tenant && entry.args.some((word) => words.has(word)))
      .slice(-12)
      .map(({ said }) => said)
      .join('\n');
  }

  #nameOf({ name, args: [sub] }: Step['calls'][number]): string {
    const whole = `${name}|${String(sub).toLowerCase()}`;
    return this.#described.has(whole) ? whole : name;
  }
}

const NONE: Outcome = { error: new Error('it has no outcome') };
const FLAT = { breakLength: Infinity, depth: 5 };

// Says `nondeterministic_output` because of forms that are not called here: an id that the server makes.
const CERTAIN: ReadonlySet<string> = new Set(['xadd']);

// They tell when a consumer was seen, and say nothing about that in their tips.
const TOLD: ReadonlySet<string> = new Set(['xinfo|consumers', 'xinfo|stream']);

// Whatever was set in seconds from now has another moment in the other world.
const CLOCKS = /^h?p?(?:ttl|expiretime)$/;

function inTime(reply: unknown): unknown {
  if (Array.isArray(reply)) return reply.map(inTime);
  return typeof reply === 'number' && reply > 0 ? 'in time' : reply;
}

/** An outcome in a form in which it can be compared. */
function plain(outcome: Outcome, { name, tips }: Described, tenant: string): unknown {
  if ('error' in outcome) {
    const {
      name: type,
      message,
      command,
    } = outcome.error as Error & {
      command?: { name: string; args: readonly unknown[] };
    };
    // An error repeats values as well as names: a value that looks like the tenant's own physical name loses its prefix.
    const logical = message.replaceAll(`tk:${tenant}:`, '');
    return {
      type,
      message: logical,
      command: command && [command.name.toLowerCase(), ...command.args.map(String)],
    };
  }
  if (TOLD.has(name)) return outcome.reply === null ? null : 'a reply';
  if (CLOCKS.test(name)) return inTime(outcome.reply);
  if (tips.has('nondeterministic_output') && !CERTAIN.has(name))
    return outcome.reply === null ? null : 'a reply';
  return tips.has('nondeterministic_output_order') ? unordered(outcome.reply) : outcome.reply;
}

function unordered(reply: unknown): unknown {
  if (Array.isArray(reply))
    return reply
      .map(unordered)
      .map((item) => inspect(item, { depth: 9 }))
      .toSorted();
  return reply;
}

/** Every key with its value, in a form that does not depend on how the server keeps it. */
async function contents(client: Raw, of: (key: Buffer) => boolean): Promise<Record<string, unknown>> {
  const keys = (await client.keysBuffer('*')).filter(of);
  const entries = keys.map(async (key) => {
    const type = await client.type(key);
    const value = await READ[type]?.(client, key);
    const time = await client.pttl(key);
    return [key.toString('latin1'), { type, value, expires: time > 0 }] as const;
  });
  return Object.fromEntries(await Promise.all(entries));
}

type Read = (client: Raw, key: Buffer) => Promise<unknown>;

const READ: Readonly<Record<string, Read>> = {
  string: (client, key) => client.getBuffer(key),
  list: (client, key) => client.callBuffer('LRANGE', key, '0', '-1'),
  set: async (client, key) => sorted(await client.smembersBuffer(key)),
  zset: (client, key) => client.callBuffer('ZRANGE', key, '0', '-1', 'WITHSCORES'),
  hash: async (client, key) => unordered(await client.callBuffer('HGETALL', key)),
  stream: async (client, key) => [await client.xrangeBuffer(key, '-', '+'), await client.call('XLEN', key)],
};

function sorted(buffers: readonly Buffer[]): string[] {
  return buffers.map((buffer) => buffer.toString('latin1')).toSorted();
}

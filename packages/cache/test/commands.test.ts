import { Command, type ChainableCommander, type Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Redis } from '@tenantkit/cache';
import { Guard } from '../src/guard.ts';
import { Sent } from '../src/sent.ts';
import { createdPlaces } from '../src/keyspec.ts';
import { CacheNames } from '../src/names.ts';
import { rewriteArguments } from '../src/rewrite.ts';
import { rowOf } from '../src/rows.ts';
import { allowedScripts, loadScripts, moduleSamples, samples, seeds } from './samples.ts';
import { BLOCKING, HOLDING, rules, type CacheRule } from '../src/rules.ts';
import { acme, openCache, ready, type Opened } from './support.ts';

type Arguments = readonly (string | number)[];
type Call = (client: Raw, words: readonly string[], args: Arguments) => Promise<unknown>;

// The ways by which a command gets to the server.
const FORMS: Readonly<Record<string, Call>> = {
  method: (client, [name = '', ...sub], args) => method(client, name)(...sub, ...args),
  'Buffer twin': (client, [name = '', ...sub], args) => method(client, `${name}Buffer`)(...sub, ...args),
  'call in capitals': (client, [name = '', ...sub], args) => client.call(name.toUpperCase(), ...sub, ...args),
  'Buffers as arguments': (client, [name = '', ...sub], args) =>
    client.callBuffer(name, ...[...sub, ...args].map((argument) => Buffer.from(String(argument)))),
  pipeline: (client, [name = '', ...sub], args) =>
    client.pipeline([batched(client, name, ...sub, ...args)]).exec(),
  transaction: (client, [name = '', ...sub], args) =>
    client.multi([batched(client, name, ...sub, ...args)]).exec(),
};

// Those that may wait by an option are asked on a connection of their own, too.
const WAITING: ReadonlySet<string> = new Set([...BLOCKING, 'xread', 'xreadgroup']);

let opened: Opened;
let model: Opened;
// What may wait does so on a connection of the tenant's own.
let own: Redis;

beforeAll(async () => {
  opened = await openCache({ tenant: { scripts: allowedScripts } });
  await loadScripts(opened.raw);
  model = await openCache();
  own = acme(() => opened.redis.duplicate());
  await ready(own);
});
afterAll(async () => {
  own.disconnect();
  await opened[Symbol.asyncDispose]();
  await model[Symbol.asyncDispose]();
});

describe('every allowed command does in a tenant what it does in a Redis of one’s own', () => {
  it.each(Object.entries(samples))('%s', async (name, calls) => {
    for (const [form, call] of Object.entries(FORMS)) {
      // The forms differ in how they get to the rewriting, the calls in what it does: not every pair is needed.
      for (const args of form === 'method' || form === 'transaction' ? calls : calls.slice(0, 1)) {
        const context = `${form}: ${name} ${args.join(' ')}`;
        await fill();
        const others = await contents(opened.raw, 'tk:acme2:');
        const before = await contents(model.raw, '');
        const client = WAITING.has(name) || HOLDING.has(name) ? own : opened.redis;
        const reply = await acme(() => outcome(() => call(client, name.split(' '), args)));
        const expected = await outcome(() => call(model.raw, name.split(' '), args));
        expect([context, sorted(name, reply)]).toEqual([context, sorted(name, expected)]);
        expect([context, await contents(opened.raw, 'tk:acme:')]).toEqual([
          context,
          await contents(model.raw, ''),
        ]);
        expect([context, await contents(opened.raw, 'tk:acme2:')]).toEqual([context, others]);
        // Every key that has come into being is one that the row says so of.
        const after = Object.keys(await contents(model.raw, ''));
        const created = createdBy(name, args);
        expect([context, after.filter((key) => !(key in before) && !created.includes(key))]).toEqual([
          context,
          [],
        ]);
        expect(await opened.raw.dbsize()).toBe((await model.raw.dbsize()) + Object.keys(others).length);
      }
    }
  });

  it('has a sample for every allowed command with keys', () => {
    expect(Object.keys({ ...samples, ...moduleSamples }).sort()).toEqual(allowed().sort());
  });

  it('leaves a call without any argument to the server, which refuses it', async () => {
    await fill();
    const before = await contents(opened.raw, '');
    for (const name of allowed()) {
      const [word = '', ...sub] = name.split(' ');
      const { error } = await acme(() => outcome(() => opened.redis.call(word, ...sub)));
      expect([name, error]).toEqual([name, expect.stringMatching(/^(?:ERR (?:wrong|[Uu]nknown)|cache\.)/)]);
    }
    expect(await contents(opened.raw, '')).toEqual(before);
  });
});

describe('every command of a module is sent with the keys of the tenant', () => {
  // What is a key in these calls.
  const KEYS: ReadonlySet<string> = new Set(['doc', 'doc2', 'one', 'two', 'target']);

  it.each(Object.entries(moduleSamples))('%s', async (name, calls) => {
    const names = new CacheNames().of('acme');
    for (const call of calls) {
      const args = call.map(String);
      const expected = args.map((word) => (KEYS.has(word) ? names.encode(word) : word));
      expect(rewriteArguments([...args], rowOf(name, args), names)).toEqual(expected);
      const bytes = args.map((word) => Buffer.from(word));
      const rewritten = rewriteArguments(bytes, rowOf(name.toUpperCase(), bytes), names);
      expect((rewritten as Buffer[]).map(String)).toEqual(expected);
      // In a Cluster it goes to the node of its first key, which ioredis does not know.
      const sent = acme(() => new Guard({}).admit(new Command(name, args)));
      const slot = new Command('get', [expected.find((word) => word.startsWith('tk:acme:')) ?? '']).getSlot();
      expect(sent).toBeInstanceOf(Sent);
      expect((sent as Sent).getSlot()).toBe(slot);
      // The server has no such module: it repeats what it was sent.
      const answer = await acme(() => outcome(() => opened.redis.call(name, ...call)));
      expect(answer).toEqual(await outcome(() => model.raw.call(name, ...call)));
      expect(answer.error).toContain('unknown command');
    }
  });
});

describe('commands without keys', () => {
  it('answer as they do outside', async () => {
    const { redis, raw } = opened;
    await acme(async () => {
      expect(await redis.ping()).toBe('PONG');
      expect(await redis.ping('hello')).toBe('hello');
      expect(await redis.echo('tk:acme2:text')).toBe('tk:acme2:text');
      expect(await redis.time()).toHaveLength(2);
      expect(await redis.lolwut()).toContain('Redis ver');
      expect(await own.wait(0, 1)).toBe(0);
      expect(await redis.command('COUNT')).toBe(await raw.command('COUNT'));
      expect(await redis.call('command', 'getkeys', 'get', 'text')).toEqual(['text']);
      expect(await redis.call('COMMAND')).toHaveLength(Number(await raw.command('COUNT')));
      expect(await redis.object('HELP')).toContain('ENCODING <key>');
    });
  });

  it('measures the memory of the own key, whose name is longer', async () => {
    await fill();
    const own = await acme(() => opened.redis.memory('USAGE', 'hash', 'SAMPLES', 0));
    expect(own).toBe(await opened.raw.memory('USAGE', 'tk:acme:hash', 'SAMPLES', 0));
    expect(own).toBeGreaterThan(0);
  });
});

describe('counts of keys', () => {
  // The server reads them strictly; whoever reads them in another way leaves a key without its prefix.
  const COUNTS = ['0', '-1', '+1', ' 1', '1 ', '01', '1e0', '0x1', '1.0', '', 'one', '2', '9999999999', '١'];

  it.each(COUNTS)('refuses %j as a count of one key, and sends nothing', async (count) => {
    await fill();
    const before = await contents(opened.raw, '');
    const written = (): number => opened.redis.stream.bytesWritten + own.stream.bytesWritten;
    const sent = written();
    for (const call of [
      () => opened.redis.call('ZUNION', count, 'sorted'),
      () => opened.redis.call('LMPOP', Buffer.from(count), 'list'),
      () => opened.redis.call('ZUNIONSTORE', 'target', count, 'sorted'),
      () => own.call('BLMPOP', 1, count, 'list'),
    ]) {
      expect((await acme(() => outcome(call))).error).toContain('its keys could not be told');
    }
    expect(written()).toBe(sent);
    expect(await contents(opened.raw, '')).toEqual(before);
    expect(await acme(() => opened.redis.call('ZUNION', 1, 'sorted'))).toContain('both');
  });

  it('keeps COPY in the database', async () => {
    await fill();
    const error = await acme(() => outcome(() => opened.redis.call('COPY', 'text', 'x', 'DB', 1)));
    expect(error.error).toContain('cache.copy is refused');
    expect(error.error).toContain('DB, which names another database, is refused');
    const token = await acme(() =>
      outcome(() => opened.redis.callBuffer('COPY', 'text', 'x', Buffer.from('dB'), 1)),
    );
    expect(token.error).toContain('cache.copy is refused');
    expect(await acme(() => opened.redis.call('COPY', 'text', 'x', 'rePLACE'))).toBe(1);
  });

  it('refuses options of SCAN that nobody knows', async () => {
    for (const args of [['MATCH'], ['COUNT'], ['NOVALUES'], ['MATCH', '*', 'TYPE'], ['*', 'MATCH']]) {
      const { error } = await acme(() => outcome(() => opened.redis.call('SCAN', 0, ...args)));
      expect([args.join(' '), error]).toEqual([
        args.join(' '),
        expect.stringContaining('cache.scan is refused'),
      ]);
    }
  });
});

function allowed(): string[] {
  return Object.entries(rules).flatMap(([name, rule]: [string, CacheRule]) => {
    if (rule.kind === 'rewrite') return [name];
    if (rule.kind !== 'custom') return [];
    // Others name no key, or are tested on their own.
    if (typeof rule.custom === 'string') return rule.custom === 'scan' ? [name] : [];
    const rows = Object.entries(rule.custom.subcommands);
    return rows.filter(([, { kind }]) => kind === 'rewrite').map(([sub]) => `${name} ${sub}`);
  });
}

// The array form names methods.
function batched(client: Raw, name: string, ...args: Arguments): (string | number)[] {
  return typeof Reflect.get(client, name) === 'function' ? [name, ...args] : ['call', name, ...args];
}

function createdBy(name: string, args: Arguments): string[] {
  const words = [...name.split(' ').slice(1), ...args.map(String)];
  const { rule } = rowOf(name.split(' ')[0] ?? '', words);
  return rule.kind === 'rewrite' ? createdPlaces(rule.rewrite, words).map((place) => words[place] ?? '') : [];
}

// A few commands are no methods: those of Valkey alone.
function method(client: Raw, name: string): (...args: Arguments) => Promise<unknown> {
  const found: unknown = Reflect.get(client, name);
  if (typeof found === 'function') return (...args) => found.apply(client, args) as Promise<unknown>;
  const plain = name.replace(/Buffer$/, '');
  return (...args) => (plain === name ? client.call(name, ...args) : client.callBuffer(plain, ...args));
}

// The model: a Redis that holds what `acme` owns, and nothing else. Plain ioredis fills all of them.
async function fill(): Promise<void> {
  await opened.raw.flushdb();
  await model.raw.flushdb();
  for (const tenant of ['acme', 'acme2']) {
    const pipeline = opened.raw.pipeline();
    for (const [command, key, ...args] of seeds(tenant))
      call(pipeline, command, `tk:${tenant}:${key}`, ...args);
    await pipeline.exec();
  }
  const pipeline = model.raw.pipeline();
  for (const [command, ...args] of seeds('acme')) call(pipeline, command, ...args);
  await pipeline.exec();
}

function call(pipeline: ChainableCommander, command: string, ...args: Arguments): void {
  const [name = '', ...sub] = command.split(' ');
  pipeline.call(name, ...sub, ...args);
}

async function outcome(call: () => unknown): Promise<{ reply?: unknown; error?: string }> {
  try {
    const reply: unknown = await call();
    return { reply };
  } catch (error) {
    return { error: (error as Error).message };
  }
}

const READERS: Readonly<Record<string, readonly [string, ...(string | number)[]]>> = {
  string: ['getBuffer'],
  hash: ['hgetall'],
  set: ['smembers'],
  zset: ['zrange', 0, -1, 'WITHSCORES'],
  list: ['lrange', 0, -1],
  stream: ['xrange', '-', '+'],
};

async function contents(raw: Raw, prefix: string): Promise<Record<string, unknown>> {
  const keys = await raw.keys(`${prefix}*`);
  const types = await answers(raw, keys, () => ['type']);
  const expiries = await answers(raw, keys, () => ['pexpiretime']);
  const values = await answers(raw, keys, (index) => READERS[String(types[index])] ?? ['exists']);
  return Object.fromEntries(
    keys.map((key, index) => {
      const value = types[index] === 'set' ? (values[index] as string[]).sort() : values[index];
      return [key.slice(prefix.length), [types[index], value, new Expiry(Number(expiries[index]))]];
    }),
  );
}

/** When a key expires. Between those of two servers lies the time of a few calls. */
class Expiry {
  readonly #at: number;

  constructor(at: number) {
    this.#at = at;
  }

  isNear(other: Expiry): boolean {
    return Math.abs(this.#at - other.#at) < 5000;
  }
}
expect.addEqualityTesters([(a, b) => (a instanceof Expiry && b instanceof Expiry ? a.isNear(b) : undefined)]);

async function answers(
  raw: Raw,
  keys: readonly string[],
  command: (index: number) => readonly [string, ...(string | number)[]],
): Promise<unknown[]> {
  const calls = keys.map((key, index) => {
    const [name, ...args] = command(index);
    return [name, key, ...args];
  });
  return ((await raw.pipeline(calls).exec()) ?? []).map(([, answer]) => answer);
}

// The order of a set, of a hash and of the keyspace is the server's affair, and it depends on the names.
const UNORDERED = /^(?:scan|sdiff|sinter|sunion|smembers|hrandfield|object idletime)$/;

function sorted(name: string, reply: unknown): unknown {
  if (name === 'expiretime' || name === 'pexpiretime') return 'a time that has been compared already';
  if (name === 'object idletime') return typeof reply;
  if (!UNORDERED.test(name)) return reply;
  const deep = (value: unknown): unknown => {
    if (Array.isArray(value))
      return value
        .map(deep)
        .map((item) => JSON.stringify(item))
        .sort();
    if (Buffer.isBuffer(value)) return value.toString('latin1');
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, deep(item)]));
  };
  return deep(reply);
}

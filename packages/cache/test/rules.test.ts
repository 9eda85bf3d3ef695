import { list, getKeyIndexes } from '@ioredis/commands';
import { auditChannels } from '@tenantkit/core';
import { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { keyPlaces, type Argument } from '../src/keyspec.ts';
import { ANYWHERE, SHARED_CONNECTION, ruleOf, rules, type CacheRule } from '../src/rules.ts';
import { samples } from './samples.ts';
import { acme, failure, openCache, operator, type Opened } from './support.ts';

const rows = Object.entries(rules) as readonly [string, CacheRule][];

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());

describe('the table', () => {
  it('has a row for every command of the live server', async () => {
    const commands = (await opened.raw.command('LIST')) as string[];
    expect(commands.length).toBeGreaterThan(300);
    const tops = commands.filter((name) => !name.includes('|'));
    expect(tops.filter((name) => ruleOf(name) === undefined)).toEqual([]);
  });

  it('knows only subcommands that the live server has, and decides about all of an opened container', async () => {
    const commands = (await opened.raw.command('LIST')) as string[];
    for (const [name, rule] of rows) {
      if (rule.kind !== 'custom' || typeof rule.custom === 'string') continue;
      const live = commands
        .filter((entry) => entry.startsWith(`${name}|`))
        .map((entry) => entry.split('|')[1]);
      const known = Object.keys(rule.custom.subcommands).filter((sub) => sub !== '');
      expect([name, known.sort()]).toEqual([name, live.sort()]);
    }
  });

  it('has a row for every command that ioredis knows, by its own list and as a method', () => {
    expect(list.filter((name) => ruleOf(name) === undefined)).toEqual([]);
    const own = new Raw({ lazyConnect: true });
    expect(own.getBuiltinCommands().filter((name) => ruleOf(name) === undefined)).toEqual([]);
  });

  it('has no row that nobody knows', async () => {
    const commands = (await opened.raw.command('LIST')) as string[];
    const known = new Set([...list, ...commands, 'sentinel']);
    expect(rows.map(([name]) => name).filter((name) => !known.has(name))).toEqual([]);
  });

  it('finds keys where the live server and ioredis find them', async () => {
    for (const [name, calls] of Object.entries(samples)) {
      const [word = '', ...sub] = name.split(' ');
      const rule = subRule(word, sub);
      if (rule?.kind !== 'rewrite') continue;
      for (const sample of calls) {
        const args: Argument[] = [...sub, ...sample].map(String);
        const places = keyPlaces(rule.rewrite, args) ?? [];
        const ours = places.map((place) => String(args[place]));
        expect([`${name} ${args.join(' ')}`, ours]).toEqual([
          `${name} ${args.join(' ')}`,
          await opened.raw.command('GETKEYS', word, ...args),
        ]);
        expect([`${name} ${args.join(' ')}`, places]).toEqual([
          `${name} ${args.join(' ')}`,
          getKeyIndexes(word, args),
        ]);
      }
    }
  });

  it('says for every refusal why, and what to use instead', () => {
    for (const [name, rule] of rows) {
      if (rule.kind === 'pass') expect([name, rule.why]).not.toEqual([name, '']);
      if (rule.kind !== 'refuse') continue;
      expect([name, rule.why]).toEqual([name, expect.stringMatching(/[^.]$/)]);
      expect([name, rule.instead]).toEqual([name, expect.stringMatching(/\.$/)]);
    }
  });

  it('is no place where a property of every object can be found', () => {
    for (const name of ['constructor', '__proto__', 'toString', 'hasOwnProperty', ''])
      expect([name, ruleOf(name)]).toEqual([name, undefined]);
    expect(Object.isFrozen(rules)).toBe(true);
  });

  it('names in its lists only commands that it knows', () => {
    for (const name of [...ANYWHERE, ...SHARED_CONNECTION])
      expect(ruleOf(name.split(' ')[0] ?? '')).toBeDefined();
  });
});

describe('every refused command', () => {
  const refused = rows.flatMap(([name, rule]) => {
    if (rule.kind === 'refuse') return [[name, rule.instead] as const];
    if (rule.kind !== 'custom' || typeof rule.custom === 'string') return [];
    return Object.entries(rule.custom.subcommands).flatMap(([sub, row]) =>
      row.kind === 'refuse' ? [[`${name} ${sub}`, row.instead] as const] : [],
    );
  });

  it.each(refused)('%s', async (name, instead) => {
    const { redis } = opened;
    const [word = '', ...sub] = name.split(' ');
    const events: unknown[] = [];
    const note = (event: unknown): unknown => events.push(event);
    auditChannels.refused.subscribe(note);
    await acme(() => redis.set('text', 'own'));
    const sent = redis.stream.bytesWritten;
    const forms = [
      () => redis.call(word, ...sub, 'text'),
      () => redis.callBuffer(word.toUpperCase(), ...sub, Buffer.from('text')),
      async () => {
        const results = await redis.pipeline([[word.toUpperCase(), ...sub, 'text']]).exec();
        throw results?.[0]?.[0] ?? new Error('not refused');
      },
    ];
    for (const [index, form] of forms.entries()) {
      const error = await acme(() => failure(form));
      expect([name, error]).toMatchObject([name, { code: 'OPERATION_REFUSED', instead }]);
      expect([name, error.message]).toEqual([name, expect.not.stringContaining('text')]);
      // The pipeline fills the place of what it refuses with a PING.
      if (index < 2) expect([name, redis.stream.bytesWritten]).toEqual([name, sent]);
    }
    auditChannels.refused.unsubscribe(note);
    expect(events.length).toBe(forms.length);
    expect(await acme(() => redis.get('text'))).toBe('own');
  });

  it('is allowed to an operator, unless it would change the connection for everybody', async () => {
    const { redis, raw } = opened;
    await raw.set('tk:acme:one', '1');
    await operator(async () => {
      expect(await redis.keys('*')).toContain('tk:acme:one');
      expect(await redis.config('GET', 'databases')).toBeDefined();
      expect(await redis.eval('return redis.call("GET", KEYS[1])', 1, 'tk:acme:one')).toBe('1');
      expect(await redis.call('CLIENT', 'ID')).toBeGreaterThan(0);
      for (const name of SHARED_CONNECTION) {
        const [word = '', ...sub] = name.split(' ');
        const error = await failure(() => redis.call(word, ...sub, 'x'));
        expect([name, error]).toMatchObject([name, { code: 'OPERATION_REFUSED' }]);
      }
    });
    expect(await acme(() => redis.get('one'))).toBe('1');
  });
});

describe('a command outside of any tenant', () => {
  it.each(rows.map(([name]) => name).filter((name) => !ANYWHERE.has(name)))('%s', async (name) => {
    const sent = opened.redis.stream.bytesWritten;
    const error = await failure(() => opened.redis.call(name, 'text'));
    expect(error.code).toBe('TENANT_MISSING');
    expect(opened.redis.stream.bytesWritten).toBe(sent);
  });

  it('works for a health check', async () => {
    expect(await opened.redis.ping()).toBe('PONG');
  });
});

function subRule(word: string, sub: readonly string[]): CacheRule | undefined {
  const rule = ruleOf(word);
  if (rule?.kind !== 'custom' || typeof rule.custom === 'string') return rule;
  return rule.custom.subcommands[sub[0] ?? ''];
}

import { getKeyIndexes, hasFlag, list } from '@ioredis/commands';
import { auditChannels } from '@tenantkit/core';
import { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { canCreate, keyPlaces, patternPlaces, type Argument } from '../src/keyspec.ts';
import { MODULES } from '../src/rules/modules.ts';
import { ANYWHERE, SHARED_CONNECTION, ruleOf, rules, type CacheRule } from '../src/rules.ts';
import { samples } from './samples.ts';
import { acme, failure, openCache, operator, type Opened } from './support.ts';

// Subcommands of Valkey alone.
const ELSEWHERE: ReadonlySet<string> = new Set(['script show']);

// They write to a key that is there, and no data: times to live, positions of groups, elements that go.
const CHANGES_ONLY: ReadonlySet<string> = new Set(
  (
    'delex expire expireat getex hexpire hexpireat hgetex hpersist hpexpire hpexpireat persist pexpire pexpireat ' +
    'vcard vdim vemb vgetattr vinfo vismember vlinks vrandmember vrem vsim xack xclaim xsetid'
  )
    .split(' ')
    .concat('xgroup setid'),
);

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
      const known = Object.keys(rule.custom.subcommands).filter(
        (sub) => sub !== '' && (live.includes(sub) || !ELSEWHERE.has(`${name} ${sub}`)),
      );
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
    const known = new Set([
      ...list,
      ...commands,
      ...Object.keys(MODULES),
      // Valkey’s, of which the default server has none.
      'clusterscan',
      'commandlog',
      'delifeq',
      'sentinel',
    ]);
    expect(rows.map(([name]) => name).filter((name) => !known.has(name))).toEqual([]);
  });

  it('finds keys where the live server and ioredis find them', async () => {
    const known = await lowerCase(opened);
    const found: unknown[] = [];
    const expected: unknown[] = [];
    for (const [name, calls] of Object.entries(samples)) {
      const [word = '', ...sub] = name.split(' ');
      const rule = subRule(word, sub);
      if (rule?.kind !== 'rewrite') continue;
      for (const sample of calls) {
        const args: Argument[] = [...sub, ...sample].map(String);
        const context = `${name} ${args.join(' ')}`;
        const places = keyPlaces(rule.rewrite, args) ?? [];
        const ours = places.map((place) => String(args[place]));
        if (known.has(word)) {
          found.push([context, ours]);
          expected.push([context, await opened.raw.command('GETKEYS', word, ...args)]);
        }
        if (!list.includes(word)) continue;
        // ioredis takes patterns for keys, too.
        found.push([context, [...places, ...patternPlaces(rule.rewrite, args)].sort((a, b) => a - b)]);
        expected.push([context, getKeyIndexes(word, args)]);
      }
    }
    expect(found).toEqual(expected);
  });

  it('says which keys may come into being as the live server does', async () => {
    const names = (await opened.raw.command('LIST')) as string[];
    const infos = (await opened.raw.call('COMMAND', 'INFO', ...names)) as unknown[][];
    const wrong: string[] = [];
    for (const info of infos) {
      const [word = '', ...sub] = String(info[0]).toLowerCase().split('|');
      const rule = subRule(word, sub);
      if (rule?.kind !== 'rewrite') continue;
      const flags = (info[8] as unknown[][]).map(
        (spec) => new Set(spec[spec.indexOf('flags') + 1] as string[]),
      );
      const name = [word, ...sub].join(' ');
      // Vector sets are a module, whose flags are those of writing and reading alike.
      const must = flags.some((set) => set.has('OW') || (set.has('RW') && set.has('insert')));
      const may = must || flags.some((set) => set.has('RW') && set.has('update'));
      const creates = canCreate(rule.rewrite);
      if ((must && !creates) || (creates && !may) || (may && !creates && !CHANGES_ONLY.has(name)))
        wrong.push(name);
    }
    expect(wrong).toEqual([]);
  });

  it('says of every command that needs memory which key it may bring into being, also of those no server here has', () => {
    const needing = list.filter((name) => hasFlag(name, 'write') && hasFlag(name, 'denyoom'));
    expect(needing).toContain('msetex');
    expect(
      needing.filter((name) => {
        const rule = ruleOf(name);
        return rule?.kind === 'rewrite' && !canCreate(rule.rewrite) && !CHANGES_ONLY.has(name);
      }),
    ).toEqual([]);
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
    // With what the options say it is allowed.
    expect(error.code).toBe(name === 'auth' ? 'OPERATION_REFUSED' : 'TENANT_MISSING');
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

async function lowerCase({ raw }: Opened): Promise<ReadonlySet<string>> {
  return new Set(((await raw.command('LIST')) as string[]).map((name) => name.toLowerCase()));
}

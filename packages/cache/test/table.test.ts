import { getKeyIndexes, hasFlag, list } from '@ioredis/commands';
import { describe, expect, it } from 'vitest';
import { canCreate, createdPlaces, keyPlaces, patternPlaces, type KeySpec } from '../src/keyspec.ts';
import { rowOf } from '../src/rows.ts';
import { ruleOf, rules, type CacheRule } from '../src/rules.ts';
import { NEWER } from '../src/rules/newer.ts';
import { readRecorded, recordedKeys, type Recorded } from './recorded.ts';
import { moduleSamples, samples } from './samples.ts';

// The table against what servers say of themselves, ioredis' own list, and calls whose keys people can see.

const recorded = Map.groupBy(readRecorded(), ({ name }) => name);
const rows: readonly (readonly [string, CacheRule])[] = Object.entries(rules).flatMap(
  ([name, rule]: [string, CacheRule]) =>
    rule.kind === 'custom' && typeof rule.custom === 'object'
      ? Object.entries(rule.custom.subcommands).map(([sub, row]) => [`${name} ${sub}`.trim(), row] as const)
      : [[name, rule] as const],
);
const rewritten = rows.flatMap(([name, rule]) =>
  rule.kind === 'rewrite' ? [[name, rule.rewrite] as const] : [],
);

// They write to a key that is there, and no data: times to live, positions of groups, elements that go.
const CHANGES_ONLY: ReadonlySet<string> = new Set([
  ...'expire expireat getex hexpire hexpireat hgetex hpersist hpexpire hpexpireat persist pexpire pexpireat'.split(
    ' ',
  ),
  // Flags of vector sets are those of writing and reading alike.
  ...'vcard vdim vemb vgetattr vinfo vismember vlinks vrandmember vrem vsim xack xclaim xsetid'.split(' '),
  'delex',
  'xgroup setid',
]);

// Its cursor may well be that of an array which is not there yet: at worst the registry has an entry too many.
const CREATES_THOUGH: ReadonlySet<string> = new Set(['arseek']);

// No server here knows them: what is a key in their samples.
const KEY_WORDS: ReadonlySet<string> = new Set(['doc', 'doc2', 'one', 'two', 'target', 'text']);

// With any number of keys, in an order of their own.
const MANY: ReadonlySet<string> = new Set(['json.mget', 'json.mset', 'ts.madd']);

// Newer than every server here, and made like one that is there.
const TWINS: Readonly<Record<string, string>> = { blmovem: 'blmove', lmovem: 'lmove' };

// Words in places where a row that is wrong finds keys that are none, or none where some are.
const PROBES: readonly (readonly string[])[] = [
  'a',
  'a b',
  'a b c',
  'a b c d',
  'a b c d e f g',
  'x 2 a b c d',
]
  .concat(
    '2 a b c d e f',
    '1 a b c',
    'x 1 a b c',
    'STREAMS a b 0 0',
    'GROUP y z STREAMS a 0',
    'a b c d e f g h i j k',
  )
  .map((probe) => probe.split(' '));

// Its keyword is looked for behind the group, which may well have its name; a server refuses the call.
const UNLIKE: ReadonlySet<string> = new Set(['xreadgroup STREAMS a b 0 0']);

// Of their options only known ones are sent, and only whole ones: a call that is not understood is refused.
const STRICT: ReadonlySet<string> = new Set([
  'copy',
  'georadius',
  'georadiusbymember',
  'sort',
  'sort_ro',
  'xread',
  'xreadgroup',
]);

// What must not be understood: options that name what the table does not see, and those of another command.
const NEVER: Readonly<Record<string, readonly string[]>> = {
  copy: ['a b DB 1'],
  georadius: ['a 1 2 3 m STORE', 'a 1 2 3 m SOMETHING b'],
  georadiusbymember: ['a b 3 m STORE', 'a b 3 m SOMETHING b'],
  sort: ['a STORE', 'a SOMETHING b'],
  sort_ro: ['a STORE b'],
  xread: ['GROUP a b STREAMS c 0', 'NOACK STREAMS a 0', 'CLAIM 1 STREAMS a 0'],
  xreadgroup: ['GROUP a STREAMS c 0'],
};

const calls: Readonly<Record<string, readonly (readonly (string | number)[])[]>> = {
  ...samples,
  ...moduleSamples,
};

describe('the table', () => {
  it('finds keys where servers and ioredis find them, in every call and not only in sensible ones', () => {
    expect(rewritten.filter(([name]) => calls[name] === undefined)).toEqual([]);
    expect(rewritten.flatMap(([name, spec]) => [...mistakes(name, spec)])).toEqual([]);
  });

  it('has no row that could be taken for another', () => {
    const kinds = [...new Set(rewritten.map(([, spec]) => spec))];
    expect(kinds.length).toBeGreaterThan(25);
    const confused = rewritten.flatMap(([name, own]) =>
      kinds.flatMap((other) =>
        other === own ||
        (!creationIsKnown(name) && placesAnywhere(own) === placesAnywhere(other)) ||
        mistakes(name, other).next().done !== true
          ? []
          : [[name, JSON.stringify(other)]],
      ),
    );
    expect(confused).toEqual([]);
  });

  it('has a row for every command, and for every subcommand of a container that it opens', () => {
    const missing = [...recorded.keys()].filter((name) => {
      const [command = '', sub] = name.split(' ');
      const rule = ruleOf(command);
      if (rule?.kind !== 'custom' || typeof rule.custom === 'string' || sub === undefined)
        return rule === undefined;
      return rule.custom.subcommands[sub] === undefined;
    });
    expect(missing).toEqual([]);
  });

  it('lets no command with keys through as it is, and refuses what administers the server', () => {
    const allowed = rows.filter(([, { kind }]) => kind !== 'refuse');
    const untouched = allowed.filter(
      ([name, { kind }]) => kind === 'pass' && tells(name, ({ specs }) => specs.length > 0),
    );
    expect(untouched).toEqual([]);
    expect(allowed.filter(([name]) => has(name, '@admin'))).toEqual([]);
    // Not one of the list would do: a whole container is refused by its own name.
    expect([...recorded.keys()].filter((name) => has(name, '@admin')).length).toBeGreaterThan(40);
  });

  it('knows what waits, what has to do with scripts, and what a connection holds', () => {
    const waiting = rows.filter(([name, { kind }]) => kind !== 'refuse' && has(name, 'blocking'));
    expect(waiting.length).toBeGreaterThan(10);
    for (const [name, rule] of rows) {
      if (rule.kind === 'refuse' || !recorded.has(name)) continue;
      const [command = '', ...sub] = name.split(' ');
      const row = rowOf(command, sub);
      const waits = (calls[name] ?? [[]]).some((sample) => row.blocks([...sub, ...sample].map(String)));
      expect([name, waits]).toEqual([name, has(name, 'blocking')]);
      expect([name, row.holds]).toEqual([name, has(name, '@transaction')]);
      // Whoever asks for help names no script.
      const scripting = has(name, '@scripting') && name !== 'script help' && command !== 'function';
      expect([name, row.scripting]).toEqual([name, scripting]);
    }
  });

  it('knows what SORT stores, which key specs leave open', () => {
    const { rule } = rowOf('sort', []);
    const created = (call: string): unknown =>
      rule.kind === 'rewrite' && createdPlaces(rule.rewrite, call.split(' '));
    expect(created('ids BY w_* STORE target')).toEqual([4]);
    expect(created('ids BY STORE GET STORE')).toEqual([]);
  });

  it('calls newer what Redis 7.0 does not have, and by the release that has it', () => {
    const newer = [...recorded].filter(
      ([name, records]) =>
        !name.includes(' ') &&
        records.every(({ releases }) => !releases.includes('redis@7.0')) &&
        (ruleOf(name)?.kind ?? 'refuse') !== 'refuse',
    );
    expect(newer.length).toBeGreaterThan(20);
    for (const [name] of newer)
      expect([name, NEWER.get(name)]).toEqual([name, expect.stringMatching(/^(?:7\.[24]|8\.0)$/)]);
    for (const [name, release] of NEWER)
      if (/^7|^8\.0/.test(release)) expect([name, tells(name, () => true)]).toEqual([name, true]);
      else expect([name, recorded.has(name)]).toEqual([name, false]);
  });
});

function tells(name: string, what: (record: Recorded) => boolean): boolean {
  return recorded.get(name)?.some(what) === true;
}

function has(name: string, trait: string): boolean {
  return tells(name, ({ traits }) => traits.has(trait));
}

/** What is wrong with a row, as far as anybody else knows: nothing, when it is right. */
function* mistakes(name: string, spec: KeySpec): Generator<string> {
  const [, ...sub] = name.split(' ');
  yield* againstFlags(name, spec);
  yield* againstReplies(name, spec);
  for (const call of NEVER[name] ?? [])
    if (keyPlaces(spec, call.split(' ')) !== undefined) yield `${name} ${call} is understood`;
  const sensible = (calls[name] ?? []).map((sample) => [...sub, ...sample.map(String)]);
  for (const args of sensible) {
    if (keyPlaces(spec, args) === undefined) yield `${name} ${args.join(' ')} is not understood`;
    yield* againstIoredis(name, spec, args);
    yield* againstWords(name, spec, args);
  }
  const records = recorded.get(TWINS[name] ?? name);
  for (const args of [...sensible, ...PROBES.map((probe) => [...sub, ...probe])]) {
    if (records === undefined && !hasMovableKeys(name)) yield* againstIoredis(name, spec, args);
    for (const record of records ?? []) yield* againstServers(record, spec, args);
  }
}

function againstServers(record: Recorded, spec: KeySpec, args: readonly string[]): string[] {
  const keys = recordedKeys(record, args);
  const places = sorted(keyPlaces(spec, args));
  if (keys === undefined || UNLIKE.has(`${record.name} ${args.join(' ')}`)) return [];
  if (places === undefined) {
    const isPlain = record.specs.every(({ begin, find }) => begin[0] === 'index' && find[0] === 'range');
    return isPlain && !STRICT.has(record.name) ? [`${record.name} ${args.join(' ')} is not understood`] : [];
  }
  const expected = keys.map(({ place }) => place);
  const created = new Set(createdPlaces(spec, args));
  const wrong = keys.filter(({ place, does }) => {
    const must = does.has('OW') || (does.has('RW') && does.has('insert'));
    const may = must || (does.has('RW') && does.has('update'));
    return created.has(place) ? !may : must || (may && !CHANGES_ONLY.has(record.name));
  });
  return [
    ...(same(expected, places)
      ? []
      : [`${record.name} ${args.join(' ')} has keys at ${String(expected)} and not at ${String(places)}`]),
    ...wrong.map(
      ({ place, does }) => `${record.name} ${args.join(' ')} does ${[...does].join(' ')} at ${place}`,
    ),
  ];
}

function againstIoredis(name: string, spec: KeySpec, args: readonly string[]): string[] {
  const [command = ''] = name.split(' ');
  if (!list.includes(command)) return [];
  const expected = sorted(getKeyIndexes(command, [...args]).filter((place) => place < args.length));
  // Patterns are keys to ioredis.
  const places = sorted(keyPlaces(spec, args)?.concat(patternPlaces(spec, args)));
  return same(expected, places)
    ? []
    : [`${name} ${args.join(' ')} has for ioredis keys at ${String(expected)}`];
}

function againstWords(name: string, spec: KeySpec, args: readonly string[]): string[] {
  if (list.includes(name) || recorded.has(name)) return [];
  const keys = args.flatMap((word, place) => (KEY_WORDS.has(word) ? [place] : []));
  // What follows is no key, unless any number may follow.
  const longer = !MANY.has(name) ? [...args, ...'s t u v w x y z'.split(' ')] : args;
  return same(keys, sorted(keyPlaces(spec, longer)))
    ? []
    : [`${name} ${args.join(' ')} has keys at ${String(keys)}`];
}

// Who else finds names in a reply is told by the tests on servers, which compare every reply with that of a server
// where the names are short.
function againstReplies(name: string, { reply }: KeySpec): string[] {
  const expected = /^(?:b?[lz]mpop|b[lr]pop|bzpop(?:min|max))$/.test(name)
    ? 'first'
    : /^xread(?:group)?$/.test(name)
      ? 'streams'
      : undefined;
  return reply === expected ? [] : [`the reply of ${name} is read as ${reply}`];
}

function againstFlags(name: string, spec: KeySpec): string[] {
  if (CHANGES_ONLY.has(name) && canCreate(spec)) return [`${name} brings nothing into being`];
  if (
    recorded
      .get(name)
      ?.some(
        ({ traits }) =>
          spec.counted !== undefined && traits.has('no_mandatory_keys') !== (spec.orNone === true),
      )
  )
    return [`${name} has another lowest count`];
  if (recorded.has(name) || !list.includes(name)) return [];
  if (canCreate(spec) && CREATES_THOUGH.has(name)) return [];
  return canCreate(spec) === hasFlag(name, 'denyoom') ? [] : [`${name} needs memory, or needs none`];
}

// What modules create, and what is newer than ioredis, is in their documentation alone.
function creationIsKnown(name: string): boolean {
  return recorded.has(TWINS[name] ?? name) || (list.includes(name) && !CREATES_THOUGH.has(name));
}

function placesAnywhere(spec: KeySpec): string {
  return JSON.stringify(PROBES.map((args) => keyPlaces(spec, args) ?? 'not understood'));
}

function hasMovableKeys(name: string): boolean {
  return !list.includes(name) || hasFlag(name, 'movablekeys');
}

function sorted(places: readonly number[] | undefined): readonly number[] | undefined {
  return places?.toSorted((a, b) => a - b);
}

function same(some: readonly number[] | undefined, others: readonly number[] | undefined): boolean {
  return String(some) === String(others);
}

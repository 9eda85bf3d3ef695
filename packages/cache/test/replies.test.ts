import { IsolationBreachError } from '@tenantkit/core';
import { Redis } from '@tenantkit/cache';
import { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { CacheNames } from '../src/names.ts';
import { nameFirst, namePage, nameStreams } from '../src/replies.ts';
import { acme, openCache, ready, type Opened } from './support.ts';

// Under which protocol, and in which form, ioredis hands out replies.
const MODES = {
  'RESP3, as ioredis has it by default': {},
  'RESP3 in its own forms': { replyMapping: 'resp3' },
  RESP2: { protocol: 2 },
} as const;

type Call = readonly [name: string, ...args: (string | number)[]];

// Calls whose replies name keys, and each of them once more where nothing comes back.
const NAMING: readonly Call[] = [
  ['blpop', 'missing', 'list', 1],
  ['brpop', 'list', 1],
  ['blmpop', 1, 2, 'missing', 'list', 'LEFT'],
  ['lmpop', 2, 'missing', 'list', 'RIGHT'],
  ['lmpop', 1, 'missing', 'RIGHT'],
  ['bzpopmin', 'missing', 'sorted', 1],
  ['bzpopmax', 'sorted', 1],
  ['bzmpop', 1, 1, 'sorted', 'MIN'],
  ['zmpop', 2, 'missing', 'sorted', 'MAX', 'COUNT', 2],
  ['zmpop', 1, 'missing', 'MAX'],
  ['xread', 'COUNT', 1, 'STREAMS', 'stream', 'missing', 'tk:acme:stream', '0', '0', '0'],
  ['xread', 'STREAMS', 'missing', '0'],
  ['xread', 'STREAMS', '__proto__', 'constructor', '0', '0'],
  ['xreadgroup', 'GROUP', 'group', 'me', 'STREAMS', 'stream', '>'],
  ['xreadgroup', 'GROUP', 'group', 'me', 'STREAMS', 'stream', '$'],
  ['scan', 0, 'COUNT', 1000],
  ['scan', 0, 'MATCH', 'nothing', 'COUNT', 1000],
];

const FILLED: readonly Call[] = [
  ['rpush', 'list', 'a', 'b'],
  ['zadd', 'sorted', 1, 'a', 2, 'b'],
  ['xadd', 'stream', '1-1', 'a', 'b'],
  ['xadd', 'tk:acme:stream', '1-1', 'c', 'd'],
  ['xadd', '__proto__', '1-1', 'e', 'f'],
  ['xadd', 'constructor', '1-1', 'g', 'h'],
  ['xgroup', 'CREATE', 'stream', 'group', '0'],
];

const FORMS: Readonly<Record<string, (client: Raw, call: Call) => Promise<unknown>>> = {
  call: (client, [name, ...args]) => client.call(name, ...args),
  'Buffer twin': (client, [name, ...args]) => client.callBuffer(name, ...args),
  pipeline: (client, call) => client.pipeline([[...call]]).exec(),
  transaction: (client, call) => client.multi([[...call]]).exec(),
  'transaction in a pipeline': (client, call) => client.pipeline([['multi'], [...call], ['exec']]).exec(),
};

let opened: Opened;
let model: Opened;
beforeAll(async () => {
  opened = await openCache();
  model = await openCache();
});
afterAll(async () => {
  await opened[Symbol.asyncDispose]();
  await model[Symbol.asyncDispose]();
});

describe.each(Object.entries(MODES))('under %s', (_, options) => {
  let own: Redis;
  let raw: Raw;
  beforeAll(async () => {
    const shared = new Redis(opened.url, options);
    own = acme(() => shared.duplicate());
    shared.disconnect();
    raw = new Raw(model.url, options);
    await Promise.all([ready(own), ready(raw)]);
  });
  afterAll(() => {
    own.disconnect();
    raw.disconnect();
  });

  describe.each(Object.entries(FORMS))('%s', (form, run) => {
    beforeEach(async () => {
      await opened.raw.flushdb();
      await model.raw.flushdb();
      for (const [name, ...args] of FILLED) {
        await acme(() => own.call(name, ...args));
        await raw.call(name, ...args);
      }
    });

    it.each(NAMING.map((call) => [call.join(' '), call] as const))('%s', async (_, call) => {
      const reply = await acme(() => run(own, call)).catch(message);
      const expected = await run(raw, call).catch(message);
      expect(ordered(call, reply)).toEqual(ordered(call, expected));
      // An object or an array as before, and not only one that has the same entries.
      expect(Object.prototype.toString.call(reply)).toBe(Object.prototype.toString.call(expected));
      if (form === 'Buffer twin' && call[0] === 'blpop')
        expect((reply as unknown[])[0]).toBeInstanceOf(Buffer);
    });
  });
});

describe('a reply that names what is not the tenant’s', () => {
  const names = new CacheNames().of('acme');
  const foreign = 'tk:acme2:stream';
  const own = 'tk:acme:stream';
  const of = (form: (key: string) => unknown): readonly unknown[] => [
    form(foreign),
    form(foreign.slice(0, 6)),
  ];
  it.each([
    ['a pop', nameFirst, (key: string) => [key, 'value']],
    ['a pop in bytes', nameFirst, (key: string) => [Buffer.from(key), 'value']],
    ['a page', namePage, (key: string) => ['0', [own, key]]],
    [
      'pairs',
      nameStreams,
      (key: string) => [
        [own, []],
        [Buffer.from(key), []],
      ],
    ],
    ['a flat map', nameStreams, (key: string) => [own, [], key, []]],
    ['an object', nameStreams, (key: string) => ({ [own]: [], [key]: [] })],
  ] as const)('is withheld: %s', (_, name, form) => {
    expect(() => name(form(own), names, 'read')).not.toThrow();
    for (const reply of of(form)) expect(() => name(reply, names, 'read')).toThrow(IsolationBreachError);
  });

  it.each([
    ['no key where one should be', nameStreams, [1, []]],
    ['a text', nameStreams, foreign],
    ['a text in bytes', nameStreams, Buffer.from(foreign)],
    ['pairs that are none', nameStreams, [[own, []], foreign]],
    ['a text', nameFirst, foreign],
    ['a page that is none', namePage, ['0', foreign]],
  ] as const)('is withheld when its form is unknown: %s', (_, name, reply) => {
    expect(() => name(reply, names, 'read')).toThrow(IsolationBreachError);
  });

  it('is none when nothing came back, or it was queued', () => {
    for (const name of [nameFirst, nameStreams])
      for (const reply of [null, [], 'QUEUED', Buffer.from('QUEUED')])
        expect(name(reply, names, 'read')).toEqual(reply);
  });
});

function message(error: unknown): unknown {
  return (error as Error).message;
}

// SCAN names keys in the order of the server.
function ordered([name]: Call, reply: unknown): unknown {
  return name === 'scan' ? sorted(reply) : reply;
}

function sorted(value: unknown): unknown {
  if (!Array.isArray(value)) return value;
  return value.map(sorted).sort((a, b) => JSON.stringify(a).localeCompare(JSON.stringify(b)));
}

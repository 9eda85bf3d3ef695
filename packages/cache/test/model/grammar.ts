import fc, { type Arbitrary } from 'fast-check';
import type { Redis } from 'ioredis';

/** An argument as a caller gives it. */
export type Given = string | Buffer;

/** A random call of one command: the command's own name, then its arguments. */
export interface Call {
  readonly name: string;
  readonly args: readonly Given[];
}

/** One command, or subcommand, as the live server describes it. */
export interface Described {
  /** `get`, or `object|encoding`. */
  readonly name: string;
  readonly group: string;
  /** What the server says about its replies, such as `nondeterministic_output_order`. */
  readonly tips: ReadonlySet<string>;
  readonly parameters: readonly Parameter[];
}

/** One entry of `arguments` in COMMAND DOCS. */
interface Parameter {
  readonly name: string;
  readonly type: string;
  readonly token?: string;
  readonly flags?: readonly string[];
  readonly arguments?: readonly Parameter[];
}

interface Docs {
  readonly group: string;
  readonly arguments?: readonly Parameter[];
  readonly subcommands?: Readonly<Record<string, Docs>>;
}

type Info = readonly [name: string, ...between: unknown[]];

/** Every command that the live server describes, subcommands by themselves. */
export async function describeCommands(server: Redis): Promise<Described[]> {
  const docs = (await server.call('COMMAND', 'DOCS')) as Readonly<Record<string, Docs>>;
  const tips = new Map<string, ReadonlySet<string>>();
  const note = (info: Info): void => {
    tips.set(info[0].toLowerCase(), new Set(info[7] as readonly string[]));
    for (const sub of info[9] as readonly Info[]) note(sub);
  };
  for (const info of (await server.call('COMMAND', 'INFO')) as readonly Info[]) note(info);
  const described = (name: string, doc: Docs): Described[] =>
    doc.subcommands === undefined
      ? [{ name, group: doc.group, tips: tips.get(name) ?? new Set(), parameters: doc.arguments ?? [] }]
      : Object.entries(doc.subcommands).flatMap(([sub, its]) => described(sub, its));
  // Those of modules are written in capitals, as no method of a client is.
  return Object.entries(docs).flatMap(([name, doc]) => described(name.toLowerCase(), doc));
}

/** Random calls of one command, of which most are such as the server accepts. */
export function callsOf({ name, group, parameters }: Described): Arbitrary<Call> {
  const [own = name, sub] = name.split('|');
  return fc.tuple(sequence(parameters, keysOf(group)), cut).map(([args, keep]) => ({
    name: own,
    args: [...(sub === undefined ? [] : [sub]), ...withCounts(args).slice(0, keep)],
  }));
}

// Keys that mean something to whoever builds names out of them: the physical names of others, patterns, hash tags.
const HOSTILE = [
  '',
  'tk:a:s',
  'tk:a-b:any',
  'tk!keys',
  '{a}x',
  'a*[b]?\\',
  '\0',
  'ключ',
  '\ud800',
  ' \r\n$3\r\n',
];

// One or two keys per kind of value, so that most commands meet a value that they are for.
const KINDS: Readonly<Record<string, readonly string[]>> = {
  string: ['s', 's2'],
  bitmap: ['s', 'bits'],
  hyperloglog: ['hll', 'hll2'],
  hash: ['h', 'h2'],
  list: ['l', 'l2'],
  set: ['set', 'set2'],
  'sorted-set': ['z', 'z2'],
  geo: ['geo', 'z'],
  stream: ['x', 'x2'],
};
const ALL_KEYS = [...new Set(Object.values(KINDS).flat()), ...HOSTILE];

const bytes = fc.oneof(
  { weight: 6, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', '1', '2', '3.5', '-1', '', 'tk:a:s') },
  { weight: 1, arbitrary: fc.constantFrom('x'.repeat(60), '\r\n', '\0', 'é', '10', '0') },
  {
    weight: 1,
    arbitrary: fc.constantFrom(Buffer.from([255, 0, 13, 10]), Buffer.from('a'), Buffer.alloc(60, 1)),
  },
);
const integers = fc.constantFrom('0', '1', '2', '3', '10', '-1', '-2');
const doubles = fc.constantFrom('0', '1', '2', '2.5', '-3', '1e2', 'inf');
// Far enough that nothing expires while a test runs, or in the past.
const times = fc.constantFrom('100000', '5000000', '4000000000', '4000000000000', '0', '-1');
const patterns = fc.constantFrom('*', 's*', '?', '[a-c]', 'tk:*', String.raw`\*`, '');

const ids = fc.constantFrom('0', '1-1', '2-2', '3', '9-9', '-', '+', '>');

// By the parameter's own name, where its type alone says too little.
const BY_NAME: Readonly<Record<string, Arbitrary<Given>>> = {
  encoding: fc.constantFrom('u8', 'i16', 'u63', 'i5'),
  id: ids,
  'last-id': fc.constantFrom('0', '1-1', '9-9'),
  lastid: fc.constantFrom('0', '1-1', '9-9'),
  start: fc.constantFrom('0', '1', '-1', '-', '1-1', '2', '-inf', '[a', '(1'),
  end: fc.constantFrom('0', '1', '-1', '+', '9-9', '2', '+inf'),
  stop: fc.constantFrom('0', '1', '-1', '+inf', '[d', '(3', '+'),
  min: fc.constantFrom('-inf', '0', '(1', '-', '[a', '(a'),
  max: fc.constantFrom('+inf', '3', '(2', '+', '[d', '(c'),
  group: fc.constantFrom('g1', 'g2'),
  groupname: fc.constantFrom('g1', 'g2'),
  consumer: fc.constantFrom('c1', 'c2'),
  consumername: fc.constantFrom('c1', 'c2'),
  longitude: fc.constantFrom('13.361389', '2.35', '0'),
  latitude: fc.constantFrom('38.115556', '48.85', '0'),
  offset: fc.constantFrom('0', '1', '7', '100', '-1'),
  threshold: integers,
  element: bytes,
};

const TIMES: ReadonlySet<string> = new Set(['seconds', 'milliseconds', 'timeout', 'ttl', 'ms']);

// The id that the server makes is its clock. Where scores differ, a range by text is whatever the levels of a skip list
// make of it, and those are chance.
const LEFT_OUT: ReadonlySet<string> = new Set(['*', 'BYLEX']);
// Which of two times to live is the longer one is chance as well, where both end in the same millisecond from now.
const MOMENTS: ReadonlySet<string> = new Set(['GT', 'LT']);

const COUNT = Symbol('as many as the keys that follow');

type Piece = Given | typeof COUNT | readonly Piece[];

function keysOf(group: string): Arbitrary<Given> {
  const own = KINDS[group];
  const key =
    own === undefined
      ? fc.constantFrom(...ALL_KEYS)
      : fc.oneof(
          { weight: 5, arbitrary: fc.constantFrom(...own) },
          { weight: 1, arbitrary: fc.constantFrom(...ALL_KEYS) },
        );
  return fc.oneof(
    { weight: 4, arbitrary: key },
    { weight: 1, arbitrary: key.map((text) => Buffer.from(text)) },
  );
}

function sequence(parameters: readonly Parameter[], keys: Arbitrary<Given>): Arbitrary<readonly Piece[]> {
  const pieces = parameters.map((parameter) => one(parameter, keys));
  return pieces.length === 0 ? fc.constant([]) : fc.tuple(...pieces);
}

function one(parameter: Parameter, keys: Arbitrary<Given>): Arbitrary<Piece> {
  const flags = new Set(parameter.flags);
  let value: Arbitrary<Piece> = valueOf(parameter, keys);
  if (parameter.token !== undefined && parameter.type !== 'pure-token' && flags.has('multiple_token'))
    value = value.map((its) => [token(parameter), its]);
  if (flags.has('multiple')) value = fc.array(value, { minLength: 1, maxLength: 3 });
  if (parameter.token !== undefined && parameter.type !== 'pure-token' && !flags.has('multiple_token'))
    value = value.map((its) => [token(parameter), its]);
  if (!flags.has('optional')) return value;
  return fc.oneof({ weight: 2, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: value });
}

function valueOf(parameter: Parameter, keys: Arbitrary<Given>): Arbitrary<Piece> {
  const { name, type } = parameter;
  const isLeftOut = (text: string): boolean =>
    LEFT_OUT.has(text) || (name === 'condition' && MOMENTS.has(text));
  const inner = (parameter.arguments ?? []).filter((its) => !isLeftOut(its.token ?? ''));
  if (type === 'pure-token') return fc.constant(token(parameter));
  if (type === 'oneof')
    return inner.length === 0 ? fc.constant([]) : fc.oneof(...inner.map((its) => one(its, keys)));
  // As many ids as keys, which is all that makes such a call a good one.
  if (type === 'block' && name.toLowerCase() === 'streams')
    return fc
      .array(fc.tuple(keys, ids), { minLength: 1, maxLength: 2 })
      .map((pairs) => [pairs.map(([key]) => key), pairs.map(([, id]) => id)]);
  if (type === 'block') return sequence(inner, keys);
  if (type === 'key') return keys;
  if (name === 'numkeys') return fc.constant(COUNT);
  // Nothing else: what expires in the midst of a test does so at another moment in the other world.
  if (type === 'unix-time' || TIMES.has(name.toLowerCase())) return times;
  const named = BY_NAME[name.toLowerCase()];
  if (named !== undefined) return fc.oneof({ weight: 6, arbitrary: named }, { weight: 1, arbitrary: bytes });
  if (type === 'integer') return integers;
  if (type === 'double') return doubles;
  if (type === 'pattern') return patterns;
  return bytes;
}

// In any letter case, and as bytes.
function token({ token: text = '', name }: Parameter): Given {
  return name.length % 3 === 0 ? Buffer.from(text.toLowerCase()) : text;
}

// A call of too few arguments now and then.
const cut = fc.oneof({ weight: 30, arbitrary: fc.constant(Infinity) }, { weight: 1, arbitrary: fc.nat(3) });

function withCounts(pieces: readonly Piece[]): Given[] {
  const flat: Given[] = [];
  for (const [place, piece] of pieces.entries()) {
    if (piece === COUNT) flat.push(String(withCounts([pieces[place + 1] ?? []]).length));
    else if (isList(piece)) flat.push(...withCounts(piece));
    else flat.push(piece);
  }
  return flat;
}

function isList(piece: Piece): piece is readonly Piece[] {
  return Array.isArray(piece);
}

/** Keys at fixed places: every `step`-th argument from `from` to `to`; a negative `to` counts from the end. */
export interface KeyRange {
  readonly from: number;
  readonly to: number;
  readonly step: number;
  /** Whether the command may bring these keys into being, or put new data there. */
  readonly creates?: true;
}

/**
 * What stands behind an option: that many values that name nothing, a key, a key that is stored under, or a pattern
 * that names further keys (`SORT … GET user:*`).
 */
export type OptionValue = number | 'key' | 'target' | 'pattern';

/** Options whose words say what follows. One that is not listed could name a key or a database: then nothing is sent. */
export interface OptionList {
  /** The place of the first option. */
  readonly from: number;
  /** What follows which word, in lower case; without a prototype, since callers choose the words. */
  readonly words: Readonly<Record<string, OptionValue>>;
  /** The word that ends the options; of what follows, the first half are keys (`STREAMS a b 0-0 0-0`). */
  readonly halved?: string;
  /** The option with which the server may hold back its reply (`XREAD BLOCK`). */
  readonly waits?: string;
}

/** Where the keys of a command stand. Places count from 0, without the command's own name. */
export interface KeySpec {
  readonly at: readonly KeyRange[];
  /** The place of a count, after which that many keys stand (`ZUNION 2 a b`). */
  readonly counted?: number;
  /** Whether the count may be 0 (`EVAL … 0`), by default `false`. */
  readonly orNone?: boolean;
  /** Whether the command may bring the counted keys into being, or put new data there. */
  readonly countedCreates?: true;
  /** Whether a value follows each counted key (`MSETEX 2 a 1 b 2`). */
  readonly countedPairs?: true;
  readonly options?: OptionList;
  /** Which names the reply holds: `first`, an array that begins with a key (`BLPOP`); `streams`, a map from keys. */
  readonly reply?: 'first' | 'streams';
}

/** What a command carries after its name, once ioredis has turned everything into text or bytes. */
export type Argument = string | Buffer;

/** How many bytes an argument takes beside its own at most: its length in front, and two ends of line. */
export const FRAME = 16;

const NONE: readonly number[] = Object.freeze([]);

type Visit = (place: number, what: 'key' | 'target' | 'pattern') => void;

// What Redis reads as a count (string2ll): no sign, no leading zero, no blank, no exponent. A count that we read
// in another way than the server would leave keys without their prefix.
const COUNT = /^[1-9]\d{0,8}$/;

/**
 * The places of the keys among `args`, or `undefined` when the arguments cannot be understood.
 * Places that `args` does not reach are left out: the server refuses such a call for its arity.
 */
export function keyPlaces(spec: KeySpec, args: readonly Argument[]): number[] | undefined {
  const places: number[] = [];
  const understood = visit(spec, args, (place, what) => {
    if (what !== 'pattern') places.push(place);
  });
  return understood ? places : undefined;
}

/**
 * The places of the keys that a call may bring into being, or put new data under: the target of `SUNIONSTORE` and
 * not its sources, and none for a command that reads, removes or expires. More than really come into being, since
 * that depends on what is stored.
 */
export function createdPlaces(spec: KeySpec, args: readonly Argument[]): number[] {
  const places: number[] = [];
  const understood = visit(spec, args, (place, what) => {
    if (what === 'target') places.push(place);
  });
  return understood ? places : [];
}

/** Whether any call of a command with this spec can create a key: for whoever wants to know before there are arguments. */
export function canCreate({ at, countedCreates, options }: KeySpec): boolean {
  const words = options === undefined ? [] : Object.values(options.words);
  return countedCreates === true || at.some(({ creates }) => creates === true) || words.includes('target');
}

/** The places of patterns that the server turns into names of keys; `#` stands for the element itself. */
export function patternPlaces(spec: KeySpec, args: readonly Argument[]): readonly number[] {
  if (spec.options === undefined) return NONE;
  const places: number[] = [];
  visit(spec, args, (place, what) => {
    if (what === 'pattern' && word(args[place]) !== '#') places.push(place);
  });
  return places;
}

/** Whether the server may hold back the reply to a call. Arguments that cannot be understood are taken to wait. */
export function mayWait({ options }: KeySpec, args: readonly Argument[]): boolean {
  if (options?.waits === undefined) return false;
  let waits = false;
  const understood = visitOptions(options, args, ignore, (name) => (waits ||= name === options.waits));
  return waits || !understood;
}

/** An argument as a lower-case word: tokens arrive in any case, and as bytes. */
export function word(argument: Argument | undefined): string {
  if (argument === undefined) return '';
  return (typeof argument === 'string' ? argument : argument.toString('latin1')).toLowerCase();
}

function visit(
  { at, counted, countedCreates, countedPairs, orNone, options }: KeySpec,
  args: readonly Argument[],
  found: Visit,
): boolean {
  for (const { from, to, step, creates } of at) {
    const last = Math.min(to < 0 ? args.length + to : to, args.length - 1);
    for (let place = from; place <= last; place += step) found(place, creates === true ? 'target' : 'key');
  }
  if (counted !== undefined && args.length > counted) {
    const count = orNone === true && word(args[counted]) === '0' ? 0 : readCount(args[counted]);
    const step = countedPairs === true ? 2 : 1;
    if (count === undefined || counted + count * step >= args.length) return false;
    for (let index = 0; index < count; index += 1)
      found(counted + 1 + index * step, countedCreates === true ? 'target' : 'key');
  }
  return options === undefined || visitOptions(options, args, found, ignore);
}

// As the server goes through them, from left to right: a value that looks like an option is a value.
function visitOptions(
  { from, words, halved }: OptionList,
  args: readonly Argument[],
  found: Visit,
  seen: (name: string) => void,
): boolean {
  for (let place = from; place < args.length; place += 1) {
    const name = word(args[place]);
    if (name === halved) return visitHalf(args, place + 1, found);
    const value = words[name];
    if (value === undefined) return false;
    seen(name);
    const length = typeof value === 'number' ? value : 1;
    if (place + length >= args.length) return false;
    if (typeof value !== 'number') found(place + 1, value);
    place += length;
  }
  return halved === undefined || args.length === 0;
}

function visitHalf(args: readonly Argument[], from: number, found: Visit): boolean {
  const count = args.length - from;
  if (count === 0 || count % 2 !== 0) return false;
  for (let place = from; place < from + count / 2; place += 1) found(place, 'key');
  return true;
}

function readCount(argument: Argument | undefined): number | undefined {
  const text = word(argument);
  return COUNT.test(text) ? Number(text) : undefined;
}

function ignore(): void {
  // Of no use to whoever asks.
}

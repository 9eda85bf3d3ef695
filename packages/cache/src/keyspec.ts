/** Keys at fixed places: every `step`-th argument from `from` to `to`; a negative `to` counts from the end. */
export interface KeyRange {
  readonly from: number;
  readonly to: number;
  readonly step: number;
}

/** Where the keys of a command stand. Places count from 0, without the command's own name. */
export interface KeySpec {
  readonly at: readonly KeyRange[];
  /** The place of a count, after which that many keys stand (`ZUNION 2 a b`). */
  readonly counted?: number;
  /** Whether the count may be 0 (`EVAL … 0`), by default `false`. */
  readonly orNone?: boolean;
  /** The only words that may follow the keys; absent when nothing that follows can name a key or a database. */
  readonly tail?: readonly string[];
  /** `first`: the reply is an array that begins with one of the keys (`BLPOP`). */
  readonly reply?: 'first';
}

/** What a command carries after its name, once ioredis has turned everything into text or bytes. */
export type Argument = string | Buffer;

// What Redis reads as a count (string2ll): no sign, no leading zero, no blank, no exponent. A count that we read
// in another way than the server would leave keys without their prefix.
const COUNT = /^[1-9]\d{0,8}$/;

/**
 * The places of the keys among `args`, or `undefined` when the arguments cannot be understood.
 * Places that `args` does not reach are left out: the server refuses such a call for its arity.
 */
export function keyPlaces(
  { at, counted, orNone, tail }: KeySpec,
  args: readonly Argument[],
): number[] | undefined {
  const places: number[] = [];
  for (const { from, to, step } of at) {
    const last = Math.min(to < 0 ? args.length + to : to, args.length - 1);
    for (let place = from; place <= last; place += step) places.push(place);
  }
  if (counted !== undefined && args.length > counted) {
    const count = orNone === true && word(args[counted]) === '0' ? 0 : readCount(args[counted]);
    if (count === undefined || counted + count >= args.length) return undefined;
    for (let place = counted + 1; place <= counted + count; place += 1) places.push(place);
  }
  if (tail !== undefined) {
    for (let place = (places.at(-1) ?? -1) + 1; place < args.length; place += 1) {
      if (!tail.includes(word(args[place]))) return undefined;
    }
  }
  return places;
}

/** An argument as a lower-case word: tokens arrive in any case, and as bytes. */
export function word(argument: Argument | undefined): string {
  if (argument === undefined) return '';
  return (typeof argument === 'string' ? argument : argument.toString('latin1')).toLowerCase();
}

function readCount(argument: Argument | undefined): number | undefined {
  const text = word(argument);
  return COUNT.test(text) ? Number(text) : undefined;
}

import { readFileSync } from 'node:fs';

/**
 * What servers say of their commands, written down so that the table can be held against it without one:
 * `node --conditions=@tenantkit/source packages/cache/test/record-commands.ts` writes it anew.
 */
export const RECORD = new URL('recorded-commands.txt', import.meta.url);

/** Where the parts of a line meet. */
export const PARTS = ' | ';

/** What some releases say of a command, or of a subcommand. */
export interface Recorded {
  readonly name: string;
  readonly releases: readonly string[];
  /** Flags and categories. */
  readonly traits: ReadonlySet<string>;
  readonly specs: readonly Spec[];
  /** All of it but the releases, as it is recorded. */
  readonly said: string;
}

/** Where keys stand, and what the command does to them: https://redis.io/docs/latest/develop/reference/key-specs/ */
interface Spec {
  readonly does: ReadonlySet<string>;
  readonly begin: readonly string[];
  readonly find: readonly string[];
}

/** A key among the arguments. */
export interface RecordedKey {
  readonly place: number;
  readonly does: ReadonlySet<string>;
}

/** Everything recorded. A command stands there once for each way in which releases describe it. */
export function readRecorded(): readonly Recorded[] {
  return readFileSync(RECORD, 'utf8').trimEnd().split('\n').map(parse);
}

/**
 * The keys among the arguments, which begin with the subcommand, as a server finds them.
 *
 * @returns `undefined` when key specs do not say where all of them stand, and for a count that no server takes
 */
export function recordedKeys({ specs }: Recorded, args: readonly string[]): RecordedKey[] | undefined {
  const keys: RecordedKey[] = [];
  for (const { does, begin, find } of specs) {
    if (begin[0] === 'unknown' || find[0] === 'unknown') return undefined;
    // Channels.
    if (does.has('not_key')) continue;
    const first = beginning(begin, args);
    if (first === undefined) continue;
    const places = placesFrom(first, find, args);
    if (places === undefined) return undefined;
    for (const place of places) keys.push({ place, does });
  }
  return keys.filter(({ place }) => place < args.length).sort((a, b) => a.place - b.place);
}

function parse(line: string): Recorded {
  const [name = '', traits = '', specs = '', releases = ''] = line.split(PARTS);
  return {
    name,
    said: [name, traits, specs].join(PARTS),
    releases: releases.split(' '),
    traits: new Set(traits.split(' ')),
    specs: specs
      .split('; ')
      .filter((spec) => spec !== '')
      .map((spec) => {
        const [does = '', begin = '', find = ''] = spec.split(', ');
        return { does: new Set(does.split(' ')), begin: begin.split(' '), find: find.split(' ') };
      }),
  };
}

// Servers count the name of the command, we do not.
function beginning([type, ...values]: readonly string[], args: readonly string[]): number | undefined {
  if (type === 'index') return Number(values[0]) - 1;
  const [keyword, from] = [values[0]?.toLowerCase(), Number(values[1]) - 1];
  const found = args.findIndex((argument, place) => place >= from && argument.toLowerCase() === keyword);
  return found === -1 ? undefined : found + 1;
}

function placesFrom(
  first: number,
  [type, ...values]: readonly string[],
  args: readonly string[],
): number[] | undefined {
  const [one = 0, two = 0, three = 0] = values.map(Number);
  if (type === 'keynum') {
    const count = Number(args[first + one] ?? 0);
    if (!Number.isInteger(count)) return undefined;
    return Array.from({ length: count }, (_, index) => first + two + index * three);
  }
  const left = three > 1 ? Math.floor((args.length - first) / three) : args.length - first;
  const last = one < 0 ? first + left + one : first + one;
  const places: number[] = [];
  for (let place = first; place <= last; place += two) places.push(place);
  return places;
}

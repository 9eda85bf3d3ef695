import { Entry } from './entry.ts';
import type { Argument } from './keyspec.ts';
import type { TenantNames } from './names.ts';
import type { Sent } from './sent.ts';

/** What is entered into one registry. */
export interface Wanted {
  readonly name: string;
  readonly names: TenantNames;
  readonly tag: string | undefined;
  /** What has wanted something there first. */
  readonly first: Sent;
  /** Each after its score. */
  readonly members: Argument[];
  /** What is known once it is written, and the entry that says whether it is. */
  readonly beliefs: string[];
  readonly believed: Entry[];
  /** That of the commands which want nothing else. */
  readonly entry: Entry;
  /** Those of commands that want something in other registries as well. */
  readonly others: Set<Entry>;
}

/** What leaves together. */
export interface Turn {
  /** When it began, by the monotonic clock in milliseconds. */
  readonly at: number;
  /** The same by the clock of the day. */
  readonly time: number;
  /** By the name of the registry, or by the names of the tenant. */
  readonly wanted: Map<TenantNames | string, Wanted>;
  /** Commands, and what sends each. */
  readonly commands: Sent[];
  readonly sends: ((command: Sent) => unknown)[];
}

/** @param at - now, by the monotonic clock in milliseconds */
export function openTurn(at: number): Turn {
  return { at, time: Date.now(), wanted: new Map(), commands: [], sends: [] };
}

/** @param at - as for {@link openTurn} */
export function openWanted(
  name: string,
  names: TenantNames,
  tag: string | undefined,
  at: number,
  first: Sent,
): Wanted {
  return {
    name,
    names,
    tag,
    first,
    members: [],
    beliefs: [],
    believed: [],
    entry: new Entry(at),
    others: new Set(),
  };
}

import { refuse, type Where } from '@tenantkit/core';
import { mayWait, word, type Argument, type KeySpec } from './keyspec.ts';
import type { TenantNames } from './names.ts';
import { nameChannels, nameCounts } from './channels.ts';
import { nameFirst, namePage, nameStreams } from './replies.ts';
import { WALKS, type Walk } from './walks.ts';
import {
  BLOCKING,
  ENDING,
  HOLDING,
  SCRIPTING,
  rules,
  type CacheRule,
  type Container,
  type CustomName,
} from './rules.ts';

/** A row of the table, made ready for the moment of the call. */
export interface Row {
  readonly where: Where;
  readonly rule: CacheRule;
  /** Whether the only key is argument 0: most calls, and one concatenation. */
  readonly first: boolean;
  /** Makes the names in a reply logical. */
  readonly read: ((reply: unknown, names: TenantNames, operation: string) => unknown) | undefined;
  /** Whether the server may hold its reply back, and with it those of everybody on the connection. */
  readonly blocks: (args: readonly Argument[]) => boolean;
  /** Whether it runs, loads or asks for scripts. */
  readonly scripting: boolean;
  /** Whether it is about what the connection holds. */
  readonly holds: boolean;
  /** Whether it ends the connection. */
  readonly ends: boolean;
  /** What it does instead of being sent, where the server would answer for all tenants. */
  readonly walk: Walk | undefined;
  /** Whether it begins or ends a subscription, which the command itself is not sent for. */
  readonly subscribes: boolean;
  /** The command's own name, and what is written of it for a few counts of arguments. */
  readonly name: string;
  readonly heads: readonly string[];
}

const UNKNOWN = refuse(
  'it is not in the rules table, so nobody has decided whether it stays inside a tenant',
  'Update tenantkit; until then use acrossTenants({ reason, actor }, () => …) if the call really is an operator’s.',
);

const READERS: Readonly<Partial<Record<CustomName, Row['read']>>> = {
  scan: namePage,
  listing: nameChannels,
  counting: nameCounts,
};

const ROWS: ReadonlyMap<string, Row | ReadonlyMap<string, Row>> = new Map(
  Object.entries(rules).map(([name, rule]: [string, CacheRule]) => [
    name,
    isContainer(rule)
      ? new Map(Object.entries(rule.custom.subcommands).map(([sub, rule]) => [sub, toRow(name, rule, sub)]))
      : toRow(name, rule),
  ]),
);

/** The row of a command, in whatever letter case it came; one that refuses when the table has none. */
export function rowOf(name: string, args: readonly Argument[]): Row {
  const row = ROWS.get(name) ?? ROWS.get(name.toLowerCase());
  if (row === undefined) return toRow(name, UNKNOWN);
  if ('where' in row) return row;
  const sub = word(args[0]);
  return row.get(sub) ?? toRow(name, UNKNOWN, sub);
}

/** What is written of a command before its arguments. */
export function headOf(name: string, count: number): string {
  return `*${count + 1}\r\n$${Buffer.byteLength(name)}\r\n${name}\r\n`;
}

/** The same for a row's own name. */
export function headFor({ name, heads }: Row, count: number): string {
  return heads[count] ?? headOf(name, count);
}

// What stands before an argument of these many bytes, put together once: every command has a few of them.
const LENGTHS: readonly string[] = Array.from({ length: 1024 }, (_, length) => `$${length}\r\n`);
const NEXT_LENGTHS: readonly string[] = LENGTHS.map((text) => `\r\n${text}`);

/** What is written before the first argument, of `length` bytes. */
export function lengthOf(length: number): string {
  return LENGTHS[length] ?? `$${length}\r\n`;
}

/** What is written between two arguments, the second of `length` bytes. */
export function nextLengthOf(length: number): string {
  return NEXT_LENGTHS[length] ?? `\r\n$${length}\r\n`;
}

function toRow(name: string, rule: CacheRule, sub = ''): Row {
  const full = `${name} ${sub}`.trim();
  return Object.freeze({
    // A name that no row has is the caller's text: keep it short and printable in messages.
    where: Object.freeze({ surface: 'cache', operation: printable(full) }),
    rule: frozen(rule),
    first: rule.kind === 'rewrite' && isFirst(rule.rewrite),
    read: readerOf(rule),
    blocks: blockerOf(name, rule),
    scripting: SCRIPTING.has(full),
    holds: HOLDING.has(name),
    ends: ENDING.has(name),
    walk: rule.kind === 'custom' && rule.custom === 'walk' ? WALKS[name] : undefined,
    subscribes: rule.kind === 'custom' && rule.custom === 'subscription',
    name,
    heads: Object.freeze(Array.from({ length: 8 }, (_, count) => headOf(name, count))),
  });
}

function readerOf(rule: CacheRule): Row['read'] {
  if (rule.kind === 'custom') return typeof rule.custom === 'string' ? READERS[rule.custom] : undefined;
  if (rule.kind !== 'rewrite' || rule.rewrite.reply === undefined) return undefined;
  return rule.rewrite.reply === 'first' ? nameFirst : nameStreams;
}

function blockerOf(name: string, rule: CacheRule): Row['blocks'] {
  if (BLOCKING.has(name)) return always;
  if (rule.kind !== 'rewrite' || rule.rewrite.options?.waits === undefined) return never;
  const spec = rule.rewrite;
  return (args) => mayWait(spec, args);
}

function isContainer(rule: CacheRule): rule is { kind: 'custom'; custom: Container } {
  return rule.kind === 'custom' && typeof rule.custom === 'object';
}

function isFirst({ at, counted, options, reply }: KeySpec): boolean {
  const [only] = at;
  const plain = counted === undefined && options === undefined && reply === undefined;
  return plain && at.length === 1 && only?.from === 0 && only.to === 0;
}

function always(): boolean {
  return true;
}

function never(): boolean {
  return false;
}

// A command in a queue of ioredis gives its row out: whoever changes what it says changes it for all tenants.
function frozen<T>(value: T): T {
  if (typeof value !== 'object' || value === null || Object.isFrozen(value)) return value;
  for (const part of Object.values(value)) frozen(part);
  return Object.freeze(value);
}

function printable(text: string): string {
  return text.slice(0, 64).replace(/[^\w .-]/g, '?');
}

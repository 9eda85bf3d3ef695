import { refuse, type Where } from '@tenantkit/core';
import type { MarkedCommand } from './command.ts';
import { word, type Argument, type KeySpec } from './keyspec.ts';
import { rules, type CacheRule, type Container } from './rules.ts';

/** A row of the table, made ready for the moment of the call. */
export interface Row {
  readonly where: Where;
  readonly rule: CacheRule;
  /** Whether the only key is argument 0: most calls, and one concatenation. */
  readonly first: boolean;
}

const UNKNOWN = refuse(
  'it is not in the rules table, so nobody has decided whether it stays inside a tenant',
  'Update tenantkit; until then use acrossTenants({ reason, actor }, () => …) if the call really is an operator’s.',
);

const ROWS: ReadonlyMap<string, Row | ReadonlyMap<string, Row>> = new Map(
  Object.entries(rules).map(([name, rule]: [string, CacheRule]) => [
    name,
    isContainer(rule)
      ? new Map(
          Object.entries(rule.custom.subcommands).map(([sub, rule]) => [sub, toRow(`${name} ${sub}`, rule)]),
        )
      : toRow(name, rule),
  ]),
);

/** The row of a command, in whatever letter case it came; one that refuses when the table has none. */
export function rowOf({ name, args }: MarkedCommand): Row {
  const row = ROWS.get(name) ?? ROWS.get(name.toLowerCase());
  if (row === undefined) return toRow(name, UNKNOWN);
  if ('where' in row) return row;
  const sub = word(args[0] as Argument | undefined);
  return row.get(sub) ?? toRow(`${name} ${sub}`, UNKNOWN);
}

function toRow(operation: string, rule: CacheRule): Row {
  return Object.freeze({
    // A name that no row has is the caller's text: keep it short and printable in messages.
    where: Object.freeze({ surface: 'cache', operation: printable(operation.trim()) }),
    rule,
    first: rule.kind === 'rewrite' && isFirst(rule.rewrite),
  });
}

function isContainer(rule: CacheRule): rule is { kind: 'custom'; custom: Container } {
  return rule.kind === 'custom' && typeof rule.custom === 'object';
}

function isFirst({ at, counted, tail, reply }: KeySpec): boolean {
  const [only] = at;
  const plain = counted === undefined && tail === undefined && reply === undefined;
  return plain && at.length === 1 && only?.from === 0 && only.to === 0;
}

function printable(text: string): string {
  return text.slice(0, 64).replace(/[^\w .-]/g, '?');
}

import { refusal, refuse } from '@tenantkit/core';
import { keyPlaces, patternPlaces, type Argument, type KeySpec } from './keyspec.ts';
import type { TenantNames } from './names.ts';
import type { Row } from './rows.ts';
import { scopeCounting, scopeListing, scopePublish } from './channels.ts';
import type { CustomName, CustomRewrite } from './rules.ts';
import { scopeScan } from './scan.ts';

const MALFORMED = refuse(
  'its keys could not be told from its other arguments',
  'Give a count of keys as a whole number before as many keys, and only options that Redis documents for it.',
);

const OPTIONS = refuse(
  'its options could not be understood, and one might name a key or another database',
  'Give those that Redis documents for it, each with its value; DB, which names another database, is refused.',
);

const OTHER = refuse('its arguments could not be understood', 'Give those that Redis documents for it.');

const AMBIGUOUS = refuse(
  'the template of the names holds a *, which the server would take for the place of the element',
  'Use a template without * to SORT with BY and GET.',
);

/**
 * Makes the names among the arguments of a command physical, in place where that is possible.
 *
 * @param args - copies that nobody else holds
 * @returns the arguments to send, or the error when the command must not be sent
 */
export function rewriteArguments(args: Argument[], row: Row, names: TenantNames): Argument[] | Error {
  if (row.first) return rewriteFirst(args, names);
  const { rule, where } = row;
  if (rule.kind === 'pass') return args;
  if (rule.kind === 'refuse') return refusal('cache', where.operation, rule);
  if (rule.kind === 'custom')
    return rewriteOther(args, row, names) ?? refusal('cache', where.operation, OTHER);
  const patterns = patternPlaces(rule.rewrite, args);
  // The server puts an element in the place of the first `*`, which would be in the prefix.
  if (patterns.length > 0 && names.prefix.includes('*')) return refusal('cache', where.operation, AMBIGUOUS);
  const problem = rule.rewrite.counted === undefined ? OPTIONS : MALFORMED;
  return rewriteByData(args, rule.rewrite, patterns, names) ?? refusal('cache', where.operation, problem);
}

function rewriteOther(args: Argument[], { rule, walk }: Row, names: TenantNames): Argument[] | undefined {
  // Its names stay logical: nothing of it is sent.
  if (walk !== undefined) return walk.takes(args) ? args : undefined;
  return rule.kind === 'custom' ? rewriteByName(args, rule.custom, names) : undefined;
}

const BY_NAME = {
  scan: scopeScan,
  publish: scopePublish,
  listing: scopeListing,
  counting: scopeCounting,
  // Never sent: see `Subscriptions`.
  subscription: (args) => args,
  // Never sent: see `Walk`.
  walk: (args) => args,
} as const satisfies Readonly<
  Record<CustomName, (args: Argument[], names: TenantNames) => Argument[] | undefined>
>;

function rewriteByName(args: Argument[], custom: CustomRewrite, names: TenantNames): Argument[] | undefined {
  return typeof custom === 'string' ? BY_NAME[custom](args, names) : undefined;
}

function rewriteFirst(args: Argument[], names: TenantNames): Argument[] {
  const key = args[0];
  if (typeof key === 'string') args[0] = names.prefix + key;
  // Without any argument the server refuses the call for its arity.
  else if (key !== undefined) args[0] = names.encode(key);
  return args;
}

function rewriteByData(
  args: Argument[],
  spec: KeySpec,
  patterns: readonly number[],
  names: TenantNames,
): Argument[] | undefined {
  const places = keyPlaces(spec, args);
  if (places === undefined) return undefined;
  for (const place of places.concat(patterns)) args[place] = names.encode(args[place] as Argument);
  return args;
}

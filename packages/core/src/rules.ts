import { currentScope } from './context.ts';
import { OperationRefusedError, type RefusalReason, type Surface } from './errors.ts';
import { publish } from './events.ts';

/** The request is rewritten by data: which arguments or fields hold names. */
export interface RewriteRule<Rewrite> {
  readonly kind: 'rewrite';
  readonly rewrite: Rewrite;
}

/** The request needs a rewriting of its own. */
export interface CustomRule<Custom> {
  readonly kind: 'custom';
  readonly custom: Custom;
}

/** The request goes through as it is: it names nothing that belongs to a tenant. */
export interface PassRule {
  readonly kind: 'pass';
  readonly why: string;
}

/** The request never leaves. */
export interface RefuseRule {
  readonly kind: 'refuse';
  /** A clause that follows `… is refused:`. */
  readonly why: string;
  /** A sentence. */
  readonly instead: string;
  /** Without it, `operation`. */
  readonly reason?: RefusalReason | undefined;
}

/** One row of an adapter's table: exactly one of four decisions. */
export type Rule<Rewrite = never, Custom = never> =
  | RewriteRule<Rewrite>
  | CustomRule<Custom>
  | PassRule
  | RefuseRule;

/**
 * An adapter's table: one row per operation of the raw client. Closing it with `satisfies Rules<Operation, …>`
 * against a type that is derived from the raw client's own types means that an upgrade which adds an operation
 * does not compile until somebody decides about it.
 *
 * @example
 * ```ts
 * import { defineRules, pass, refuse, rewrite, type Rules } from '@tenantkit/core';
 * const rules = defineRules({
 *   get: rewrite('firstKey'),
 *   ping: pass('names nothing'),
 *   flushall: refuse('it removes the keys of every tenant', 'Delete the keys of this tenant with SCAN and UNLINK.'),
 * } satisfies Rules<'get' | 'ping' | 'flushall', 'firstKey'>);
 * ```
 */
export type Rules<Operation extends string, Rewrite = never, Custom = never> = Readonly<
  Record<Operation, Rule<Rewrite, Custom>>
>;

/** A row that rewrites by data. */
export function rewrite<Rewrite>(how: Rewrite): RewriteRule<Rewrite> {
  return { kind: 'rewrite', rewrite: how };
}

/** A row with a rewriting of its own. */
export function custom<Custom>(how: Custom): CustomRule<Custom> {
  return { kind: 'custom', custom: how };
}

/** A row that lets the request through; `why` is documentation that the tests and the README print. */
export function pass(why: string): PassRule {
  return { kind: 'pass', why };
}

/** A row that refuses; both texts are shown to the caller. */
export function refuse(why: string, instead: string, reason?: RefusalReason): RefuseRule {
  return { kind: 'refuse', why, instead, ...(reason === undefined ? {} : { reason }) };
}

/**
 * Freezes a table and takes its prototype away: `rules['constructor']` must be no row. The rows keep their own
 * types, so that the table can be closed with `satisfies` at the call.
 */
export function defineRules<Table extends Readonly<Record<string, Rule<unknown, unknown>>>>(
  table: Table,
): Table {
  return Object.freeze(Object.assign(Object.create(null), table)) as Table;
}

const UNKNOWN = refuse(
  'it is not in the rules table, so nobody has decided whether it stays inside a tenant',
  'Update tenantkit; until then use acrossTenants({ reason, actor }, () => …) if the call really is an operator’s.',
);

/**
 * The error for a refused operation, after one `tenantkit:refused` event was published. Returned rather than
 * thrown, because an adapter may have to reject a promise at a moment when throwing would harm other callers.
 *
 * @param rule - the row, or `undefined` when the table has none: an operation without a row is refused
 * @param caller - in the text in the place of the surface, which may have several objects: `worker`
 */
export function refusal(
  surface: Surface,
  operation: string,
  rule: RefuseRule = UNKNOWN,
  caller?: string,
): OperationRefusedError {
  const scope = currentScope();
  const error = new OperationRefusedError({
    surface,
    operation,
    why: rule.why,
    instead: rule.instead,
    reason: rule.reason,
    caller,
    // What is refused is often called by accident where there is no tenant: a text that claims one misleads.
    place: scope === undefined ? undefined : scope.tenant === undefined ? 'acrossTenants' : 'a tenant',
  });
  publish('refused', {
    surface,
    operation,
    message: error.message,
    tenant: scope?.tenant?.tenant,
    actor: scope?.tenant?.actor ?? scope?.bypass?.actor,
  });
  return error;
}

/** The row of an operation; `undefined` means that it has none and must be refused. */
export function ruleFor<R>(rules: Readonly<Record<string, R>>, operation: string): R | undefined {
  return Object.hasOwn(rules, operation) ? rules[operation] : undefined;
}

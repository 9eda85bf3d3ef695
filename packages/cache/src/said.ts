import { Command } from 'ioredis';
import { keyPlaces, patternPlaces, type Argument } from './keyspec.ts';
import { isSecret } from './login.ts';
import type { Mark } from './mark.ts';
import { TenantNames } from './names.ts';
import type { Row } from './rows.ts';

interface Internals {
  _iterateKeys(this: { name: string; args: readonly Argument[]; keys: undefined }): Argument[];
}

const internals = Command.prototype as unknown as Internals;

/**
 * The arguments of a command as its caller knows them, without those that hold a password.
 *
 * @param args - what is written, in physical names
 * @param given - what the caller gave, where it cannot be worked out from what is written
 */
export function logicalArgs(
  { rule, where }: Row,
  mark: Mark,
  args: readonly Argument[],
  given: readonly Argument[] | undefined,
): Argument[] {
  if (isSecret(where.operation)) return [];
  // Copies: what is behind these Buffers is what is written.
  const logical = (given ?? args).map(copied);
  if (!(mark instanceof TenantNames) || rule.kind !== 'rewrite') return logical;
  for (const place of (keyPlaces(rule.rewrite, args) ?? []).concat(patternPlaces(rule.rewrite, args)))
    logical[place] = copied(mark.decode(args[place] as Argument, where.operation));
  return logical;
}

/** The physical keys of a command, for the slot. */
export function keysOf(
  { rule, first }: Row,
  mark: Mark,
  name: string,
  args: readonly Argument[],
): Argument[] {
  if (first && mark instanceof TenantNames) return args.slice(0, 1);
  // The rows know commands that ioredis does not, such as those of modules.
  if (mark instanceof TenantNames && rule.kind === 'rewrite')
    return (keyPlaces(rule.rewrite, args) ?? []).map((place) => args[place] as Argument);
  return internals._iterateKeys.call({ name, args, keys: undefined });
}

/** A reply in logical names. @throws {@link IsolationBreachError} */
export function logicalReply({ read, where }: Row, mark: Mark, reply: unknown): unknown {
  return read !== undefined && mark instanceof TenantNames ? read(reply, mark, where.operation) : reply;
}

// Not out of node's pool, which other Buffers share.
function copied(argument: Argument): Argument {
  return typeof argument === 'string' ? argument : Buffer.from(new Uint8Array(argument).buffer);
}

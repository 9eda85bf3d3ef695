import { refusal, refuse } from '@tenantkit/core';
import type { MarkedCommand } from './command.ts';
import { keyPlaces, type Argument, type KeySpec } from './keyspec.ts';
import type { TenantNames } from './names.ts';
import { nameFirst, namePage } from './replies.ts';
import { rowOf, type Row } from './rows.ts';
import { scopeScan } from './scan.ts';

const MALFORMED = refuse(
  'its keys could not be told from its other arguments',
  'Give a count of keys as a whole number before as many keys, and only options that the README lists.',
);

// What the caller gave to SCAN, for the error of a reply: our pattern cannot be told from the caller's.
const given = new WeakMap<object, readonly Argument[]>();

/**
 * Makes the names in a command physical, and prepares the reply to be made logical.
 *
 * @returns the error when the command must not be sent; then nothing was changed
 */
export function rewriteCommand(command: MarkedCommand, row: Row, names: TenantNames): Error | undefined {
  if (row.first) {
    rewriteFirst(command, names);
    return undefined;
  }
  const { rule } = row;
  if (rule.kind === 'rewrite') return rewriteByData(command, row, rule.rewrite, names);
  if (rule.kind === 'custom') return rewriteScan(command, row, names);
  return rule.kind === 'pass' ? undefined : refusal('cache', row.where.operation, rule);
}

/** The arguments of an admitted command as its caller knows them. */
export function logicalArguments(command: MarkedCommand, names: TenantNames): readonly Argument[] {
  const args = command.args as Argument[];
  const { rule, where } = rowOf(command);
  if (rule.kind !== 'rewrite') return given.get(command) ?? args;
  const logical = [...args];
  for (const place of keyPlaces(rule.rewrite, args) ?? []) {
    const key = args[place];
    if (key !== undefined && names.owns(key)) logical[place] = names.decode(key, where.operation);
  }
  return logical;
}

function rewriteFirst(command: MarkedCommand, names: TenantNames): void {
  const args = command.args as Argument[];
  const key = args[0];
  if (typeof key === 'string') args[0] = names.prefix + key;
  // Without any argument the server refuses the call for its arity.
  else if (key !== undefined) args[0] = names.encode(key);
}

function rewriteByData(
  command: MarkedCommand,
  row: Row,
  spec: KeySpec,
  names: TenantNames,
): Error | undefined {
  const args = command.args as Argument[];
  const places = keyPlaces(spec, args);
  if (places === undefined) return refusal('cache', row.where.operation, MALFORMED);
  for (const place of places) args[place] = names.encode(args[place] as Argument);
  if (spec.reply === 'first') readReply(command, row, names, nameFirst);
  return undefined;
}

function rewriteScan(command: MarkedCommand, row: Row, names: TenantNames): Error | undefined {
  const args = command.args as Argument[];
  const scoped = scopeScan(args, names);
  if (scoped === undefined) return refusal('cache', row.where.operation, MALFORMED);
  given.set(command, args);
  command.args = scoped;
  readReply(command, row, names, namePage);
  return undefined;
}

// ioredis calls this for every reply, also for the one that EXEC hands out, before it makes texts of Buffers.
function readReply(
  command: MarkedCommand,
  { where }: Row,
  names: TenantNames,
  read: (reply: unknown, names: TenantNames, operation: string) => unknown,
): void {
  const transform = command.transformReply.bind(command);
  command.transformReply = (reply) => transform(read(reply, names, where.operation) as Buffer);
}

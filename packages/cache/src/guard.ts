import {
  TenantSwitchError,
  currentScope,
  publish,
  refusal,
  refuse,
  requireScope,
  type Scope,
  type TenantRegistry,
} from '@tenantkit/core';
import { constants } from 'node:buffer';
import { types } from 'node:util';
import { MARK, OWN, RAW, Refusal, TransactionMark, type MarkedCommand } from './command.ts';
import { word, type Argument } from './keyspec.ts';
import { CacheNames, TenantNames } from './names.ts';
import type { CacheOptions } from './options.ts';
import { isPlumbing, sameScope } from './plumbing.ts';
import { logicalArguments, rewriteCommand } from './rewrite.ts';
import { rowOf, type Row } from './rows.ts';
import { ANYWHERE, SHARED_CONNECTION } from './rules.ts';

// The length of an argument in front of it, and two ends of line.
const FRAME = 16;

// What ioredis sends for itself on a connection: handshake, ready check, redirections, the cluster's slots.
const HANDSHAKE: Readonly<Record<string, readonly string[] | 'any'>> = Object.assign(Object.create(null), {
  asking: 'any',
  auth: 'any',
  client: ['setname', 'setinfo'],
  cluster: ['info', 'slots'],
  hello: 'any',
  info: 'any',
  readonly: 'any',
  readwrite: 'any',
  select: 'any',
});

const UNUSABLE = refuse(
  'it was given something that is not a command, or arguments that cannot be written',
  'Give texts, numbers and Buffers, together less than 512 MB.',
);
const NOT_ADMITTED = refuse(
  'it reached the connection without passing the guard',
  'Use the pipelines that redis.pipeline() and redis.multi() make.',
);

/** Decides about every command of one client, and makes its names those of the current tenant. */
export class Guard {
  readonly names: CacheNames;
  readonly fence: TenantRegistry | undefined;

  constructor(options: CacheOptions) {
    this.names = new CacheNames(options);
    this.fence = options.fence;
  }

  /**
   * Rewrites a command for the tenant of the caller, once, and marks it. Called in the caller's own context; what
   * arrives again later (from the offline queue, after a reconnect, on a redirection) carries its mark.
   *
   * @returns the error when the command must not be sent. Never throws.
   */
  admit(command: MarkedCommand): Error | undefined {
    const mark = command?.[MARK];
    if (mark !== undefined) return this.#again(command, mark instanceof TransactionMark ? undefined : mark);
    if (typeof command?.resolve !== 'function' || typeof command.name !== 'string')
      return refusal('cache', nameOf(command), UNUSABLE);

    const args = ownArguments(command.args);
    if (args === undefined) return refusal('cache', nameOf(command), UNUSABLE);
    command.args = args;
    // ioredis has decided in the constructor: bytes that came later would be written as text, longer than announced.
    Reflect.set(
      command,
      'bufferMode',
      args.some((argument) => typeof argument !== 'string'),
    );

    const row = rowOf(command);
    const scope = currentScope();
    if (scope === undefined) return outside(command, row);
    if (scope.tenant === undefined) return across(command, row);

    const names = this.names.of(scope.tenant.tenant);
    const error = this.#fenced(names, row) ?? rewriteCommand(command, row, names);
    if (error === undefined) command[MARK] = names;
    return error;
  }

  /** What a pipeline sends: the command when it was admitted while it was queued, or what fills its place. */
  queued(command: MarkedCommand): MarkedCommand {
    const mark = command[MARK];
    const error =
      mark === undefined
        ? refusal('cache', nameOf(command), NOT_ADMITTED)
        : this.#again(command, mark instanceof TransactionMark ? OWN : mark);
    if (error === undefined) return command;
    // EXEC answers for the whole transaction: the place of this one must not show the PONG.
    command.transformReply = () => {
      throw error;
    };
    const refused = new Refusal(error, command);
    // ioredis has put them on the command already: without them a lost connection keeps the placeholder in its
    // queue for ever, and every later reply goes to the wrong caller.
    for (const place of ['pipelineIndex', 'inTransaction'])
      Reflect.set(refused, place, Reflect.get(command, place));
    return refused;
  }

  /**
   * Why an object that was made in `owner` must not be used now.
   * @returns the error, or `undefined` when it may; never throws
   */
  elsewhere(owner: Scope | undefined, operation: string): Error | undefined {
    const scope = currentScope();
    if (sameScope(owner, scope) || isPlumbing()) return undefined;
    return scope === undefined ? missing(operation) : switched(operation, scope);
  }

  /** Like {@link Guard.elsewhere}, for what node calls by itself, where no scope is nobody's mistake. */
  elsewhereInTenant(owner: Scope, operation: string): Error | undefined {
    return currentScope() === undefined ? undefined : this.elsewhere(owner, operation);
  }

  /** The scope that an object made now belongs to. @throws MissingTenantError */
  owner(operation: string): Scope {
    return requireScope({ surface: 'cache', operation });
  }

  /** Makes the names in an error reply logical: Redis and ioredis repeat arguments in both text and `command`. */
  readable<E>(error: E, command: MarkedCommand | undefined): E {
    const names = command?.[MARK];
    if (!(error instanceof Error) || command === undefined || !(names instanceof TenantNames)) return error;
    // A redirection names no key, and ioredis reads the address out of it: `{tenant}:` and tenant 1 would change it.
    if (/^(?:MOVED|ASK) /.test(error.message)) return error;
    error.message = error.message.replaceAll(names.prefix, '');
    if (error.stack !== undefined) error.stack = error.stack.replaceAll(names.prefix, '');
    if ('command' in error) error.command = { name: command.name, args: logicalArguments(command, names) };
    return error;
  }

  // A Command object that was sent, or queued, before.
  #again(command: MarkedCommand, mark: MarkedCommand[typeof MARK]): Error | undefined {
    const scope = currentScope();
    const same =
      mark instanceof TenantNames
        ? mark.tenant === scope?.tenant?.tenant && mark.template === this.names.codec.template
        : mark === OWN || (mark === RAW && scope?.bypass !== undefined);
    if (!same && !isPlumbing())
      return scope === undefined ? missing(command.name) : switched(command.name, scope);
    // What has waited in a pipeline or for a connection may be older than a freeze.
    return mark instanceof TenantNames && this.fence !== undefined
      ? this.#fenced(mark, rowOf(command))
      : undefined;
  }

  #fenced({ tenant }: TenantNames, { where }: Row): Error | undefined {
    if (this.fence === undefined) return undefined;
    try {
      this.fence.check(tenant, where);
      return undefined;
    } catch (error) {
      return error as Error;
    }
  }
}

/**
 * The arguments as texts and Buffers that nobody else holds. The caller's own Buffers could answer the check with
 * one `length` or `toString` and ioredis with another, which puts a second command on the connection of all
 * tenants; and they could be changed while they wait in a pipeline or for a connection.
 *
 * ioredis throws over anything that is neither text nor Buffer when it writes a command, in the middle of a
 * pipeline: those before it then wait for replies that never come, and get those of later callers.
 *
 * @returns `undefined` when they cannot be written
 */
function ownArguments(given: readonly unknown[]): Argument[] | undefined {
  const args: Argument[] = [];
  let length = 0;
  for (const argument of given) {
    const own = typeof argument === 'string' ? argument : copyOf(argument);
    if (own === undefined) return undefined;
    length += own.length + FRAME;
    args.push(own);
  }
  return length < constants.MAX_STRING_LENGTH ? args : undefined;
}

function copyOf(argument: unknown): Buffer | undefined {
  // By its internal slots: neither a Proxy nor an object that only has the prototype is one.
  if (!Buffer.isBuffer(argument) || !types.isUint8Array(argument)) return undefined;
  try {
    // Reads the slots of a typed array, none of its properties.
    const { buffer } = new Uint8Array(argument);
    return Buffer.from(buffer);
  } catch {
    // Its memory was given away: there is nothing to send.
    return undefined;
  }
}

function outside(command: MarkedCommand, row: Row): Error | undefined {
  if (!(isPlumbing() && isHandshake(command)) && !ANYWHERE.has(row.where.operation))
    return missing(row.where.operation);
  command[MARK] = OWN;
  return undefined;
}

function across(command: MarkedCommand, row: Row): Error | undefined {
  const name = command.name.toLowerCase();
  if (SHARED_CONNECTION.has(name) || SHARED_CONNECTION.has(`${name} ${firstWord(command)}`))
    return row.rule.kind === 'refuse'
      ? refusal('cache', name, row.rule)
      : refusal('cache', name, NOT_ADMITTED);
  command[MARK] = RAW;
  return undefined;
}

function isHandshake(command: MarkedCommand): boolean {
  const known = HANDSHAKE[command.name.toLowerCase()];
  return known === 'any' || (known?.includes(firstWord(command)) ?? false);
}

function firstWord(command: MarkedCommand): string {
  return word(command.args[0] as Argument | undefined);
}

function nameOf(command: Partial<MarkedCommand> | undefined): string {
  return typeof command?.name === 'string' ? command.name : 'sendCommand';
}

function missing(operation: string): Error {
  try {
    requireScope({ surface: 'cache', operation });
  } catch (error) {
    return error as Error;
  }
  throw new TypeError(`${operation}: there is a scope`);
}

function switched(operation: string, scope: Scope): TenantSwitchError {
  const error = new TenantSwitchError({
    surface: 'cache',
    operation,
    what: 'Something that was made in one tenant was used in another.',
  });
  publish('refused', {
    surface: 'cache',
    operation,
    message: error.message,
    tenant: scope.tenant?.tenant,
    actor: scope.tenant?.actor ?? scope.bypass?.actor,
  });
  return error;
}

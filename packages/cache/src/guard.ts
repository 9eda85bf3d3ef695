import {
  currentScope,
  refusal,
  refuse,
  requireScope,
  requireTenant,
  type Scope,
  type TenantRegistry,
} from '@tenantkit/core';
import type { Command } from 'ioredis';
import { placeholder } from './command.ts';
import { isEntry } from './entry.ts';
import { callerOf, type Caller } from './caller.ts';
import type { Argument } from './keyspec.ts';
import { Light } from './light.ts';
import { OWN, RAW, isPart, type Mark } from './mark.ts';
import { ENDS, NOT_ADMITTED, SHARED, across, misplaced, type Place } from './misplaced.ts';
import { CacheNames, TenantNames } from './names.ts';
import type { CacheOptions } from './options.ts';
import { ownArguments } from './own-arguments.ts';
import { isPlumbing, sameScope } from './plumbing.ts';
import { about, isAllowedIn, lastErrorOf, note, tie } from './rare.ts';
import { rewriteArguments } from './rewrite.ts';
import type { Registry } from './registry.ts';
import { rowOf, type Row } from './rows.ts';
import { ANYWHERE, rules } from './rules.ts';
import { missing, switched } from './scope-errors.ts';
import { Scripts } from './scripts.ts';
import { Sent } from './sent.ts';
import type { Placing } from './silo.ts';

/** Whether a command outside of any tenant is of the connection itself: see `isOwn` of handshake.ts. */
export type IsOwn = (name: string, args: readonly Argument[], isQueued: boolean) => boolean;

const UNUSABLE = refuse(
  'it was given something that is not a command, or arguments that cannot be written',
  'Give texts, numbers and Buffers, together less than 512 MB.',
);
const HALF = refuse(
  'it is part of a transaction, which is sent as a whole or not at all',
  'Call exec() again with a new transaction.',
);

/** Decides about every command of one client, and makes its names those of the current tenant. */
export class Guard {
  readonly names: CacheNames;
  readonly fence: TenantRegistry | undefined;
  /** The client that this is the guard of; the nodes of a cluster have that of the cluster. */
  home: object = {};
  readonly scripts: Scripts;
  /** Where keys are noted before they come into being; `undefined` without the option `index`. */
  registry: Registry | undefined = undefined;
  /** Whether a tenant's data is where this client is; `undefined` where all tenants are there. */
  placing: Placing | undefined = undefined;
  readonly #isOwn: IsOwn;
  readonly #isCluster: boolean;

  /** @param isCluster - whether it is that of a Cluster, and not of one connection */
  constructor(options: CacheOptions, isOwn: IsOwn = () => false, isCluster = false) {
    this.names = new CacheNames(options);
    this.fence = options.fence;
    this.scripts = new Scripts(options.scripts);
    this.#isOwn = isOwn;
    this.#isCluster = isCluster;
  }

  /**
   * Makes out of a caller's command the one that is sent, for the tenant of the caller. Called in the caller's own
   * context. What the caller has given is copied, each part once, and never written to.
   *
   * @param within - the pipeline that it is queued in; by default it is sent by itself
   * @returns the error when nothing must be sent. Never throws.
   */
  admit(
    command: Partial<Command> | null | undefined,
    place: Place = SHARED,
    within: object = this.home,
  ): Sent | Error {
    let name: unknown;
    let args: Argument[] | undefined;
    let caller;
    let isReadOnly = false;
    try {
      if (command === undefined || command === null) return refusal('cache', 'sendCommand', UNUSABLE);
      ({ name } = command);
      args = Light.take(command);
      isReadOnly = args === undefined && command.isReadOnly === true;
      args ??= ownArguments(command.args);
      caller = callerOf(command);
    } catch {
      // A getter, or a Proxy, that throws.
      return refusal('cache', nameOf(name), UNUSABLE);
    }
    if (typeof name !== 'string' || args === undefined) return refusal('cache', nameOf(name), UNUSABLE);
    if (typeof caller.resolve !== 'function' || typeof caller.reject !== 'function')
      return refusal('cache', nameOf(name), UNUSABLE);

    const row = rowOf(name, args);
    const scope = currentScope();
    if (scope?.tenant === undefined) {
      const isOwn = this.#isOwn(name.toLowerCase(), args, place.isQueued === true);
      const elsewhere = () => across(name, args, row, place, this.#isCluster);
      const mark = isOwn ? OWN : scope === undefined ? this.#outside(row, args) : elsewhere();
      return mark instanceof Error ? mark : this.#sent(mark, row, name, args, caller);
    }
    const names = this.names.of(scope.tenant.tenant);
    const error = this.#refused(names, row) ?? misplaced(row, args, place) ?? this.#undeclared(row, args);
    if (error !== undefined) return error;
    const physical = rewriteArguments(args, row, names);
    if (!Array.isArray(physical)) return physical;
    const sent = this.#sent(names, row, name, physical, caller);
    if (isReadOnly) sent.isReadOnly = true;
    if (row.holds || row.ends || row.blocks(args)) tie(sent, within);
    const { subject } = scope.tenant;
    if (subject !== undefined && this.registry !== undefined) about(sent, subject);
    return physical === args ? sent : note(sent, args);
  }

  /**
   * Why what was admitted before must not be sent by whoever runs now: it is somebody else's.
   * @returns the error, or `undefined` when it may. Never throws.
   */
  foreign({ mark, row }: Sent): Error | undefined {
    const scope = currentScope();
    const same =
      mark instanceof TenantNames
        ? mark.tenant === scope?.tenant?.tenant && mark.template === this.names.codec.template
        : mark === OWN || (mark === RAW && scope?.bypass !== undefined);
    if (same || isPlumbing()) return undefined;
    return scope === undefined ? missing(row.where.operation) : switched(row.where.operation, scope);
  }

  /**
   * What was admitted before arrives once more: out of the offline queue, after a reconnect, on a redirection.
   * @returns the error when it must not be sent. Never throws.
   */
  again(command: Sent): Error | undefined {
    // A walk is never sent: on the server it would be one over the keys of every tenant. Nor is a subscription,
    // which would hear the channels of that physical name.
    const { isAltered, isWalk, row } = command;
    if (isAltered || isWalk || row.subscribes || !isAllowedIn(command, this.home))
      return this.notAdmitted(command);
    // ioredis resends what has failed, alone: MULTI alone opens a transaction that nobody closes.
    if (isPart(command)) return lastErrorOf(command) ?? refusal('cache', command.row.where.operation, HALF);
    return this.stillAllowed(command);
  }

  /**
   * What has waited in a pipeline or for a connection may be older than a freeze, or than a move.
   *
   * @param mayAsk - whether code of the service may run now: in the midst of a pipeline it must not, since what it
   * sends would be written before the commands that it comes after
   */
  stillAllowed({ mark, row }: Sent, mayAsk = true): Error | undefined {
    return mark instanceof TenantNames ? this.#refused(mark, row, mayAsk) : undefined;
  }

  /** What fills the place of a command that nobody has admitted, in a pipeline whose queue was changed. */
  stranger(command: unknown): Sent {
    const filler = placeholder(this.notAdmitted(command), command);
    // ioredis has put them on the command already: without them a lost connection keeps the placeholder in its
    // queue for ever, and every later reply goes to the wrong caller.
    for (const place of ['pipelineIndex', 'inTransaction'])
      Reflect.set(filler, place, Reflect.get(command as object, place));
    return filler;
  }

  /** The error for what comes on a stream, or for a node, that ioredis has not chosen. */
  notAdmitted(command: unknown): Error {
    return refusal('cache', nameOf((command as Partial<Command> | undefined)?.name), NOT_ADMITTED);
  }

  /** @throws {@link OperationRefusedError} inside a tenant, on a connection that is not its own */
  assertMayEnd(operation: string, place: Place): void {
    if (place.mayEnd || currentScope()?.tenant === undefined || isPlumbing()) return;
    throw refusal('cache', operation, ENDS);
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

  /** The names of the tenant that runs now. @throws MissingTenantError */
  namesOf(operation: string): TenantNames {
    return this.names.of(requireTenant({ surface: 'cache', operation }).tenant);
  }

  /** The scope that an object made now belongs to. @throws MissingTenantError */
  owner(operation: string): Scope {
    return requireScope({ surface: 'cache', operation });
  }

  #outside(row: Row, args: readonly Argument[]): Mark | Error {
    const { operation } = row.where;
    if (ANYWHERE.has(operation)) return this.#undeclared(row, args) ?? OWN;
    return operation === 'auth' ? refusal('cache', operation, rules.auth) : missing(operation);
  }

  #undeclared(row: Row, args: readonly Argument[]): Error | undefined {
    return row.scripting ? this.scripts.refuse(row, args) : undefined;
  }

  #sent(mark: Mark, row: Row, name: string, args: readonly Argument[], caller: Caller): Sent {
    return row.scripting
      ? this.scripts.sent(mark, row, name, args, caller)
      : new Sent(mark, row, name, args, caller);
  }

  #refused(names: TenantNames, row: Row, mayAsk = true): Error | undefined {
    const { placing } = this;
    const fenced = this.#fenced(names, row);
    // An operator's command may be about any tenant, and so is its entry.
    if (fenced !== undefined || placing === undefined || isEntry(row)) return fenced;
    return placing.refuse(names.tenant, row.where.operation, mayAsk);
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

function nameOf(name: unknown): string {
  return typeof name === 'string' ? rowOf(name, []).where.operation : 'sendCommand';
}

import { Command } from 'ioredis';
import { Bare } from './bare.ts';
import { begun, inCaller, rejected, resolved, transformed, type Caller } from './caller.ts';
import type { Entry } from './entry.ts';
import { readError } from './error-text.ts';
import type { Argument } from './keyspec.ts';
import type { Mark } from './mark.ts';
import { isTransformed } from './methods.ts';
import { TenantNames } from './names.ts';
import type { Rare, Reject, Resolve } from './rare.ts';
import type { Row } from './rows.ts';
import { keysOf, logicalArgs, logicalReply } from './said.ts';
import { written } from './written.ts';

const internals = Command.prototype as unknown as { _clearTimers(this: object): void };

/**
 * What is sent in the place of a caller's command. The caller's own object never reaches a connection: it could
 * have other arguments, another name or other bytes by the time ioredis writes it, which may be after a
 * reconnect. It only hears the outcome, so its promise settles as with ioredis.
 */
export class Sent extends Bare {
  // What ioredis reads and writes. Those of a single command are declared only: every field costs each command.
  declare pipelineIndex?: number;
  declare ignore?: boolean;
  declare isReadOnly?: boolean;
  declare readonly protocol?: number;
  declare readonly replyMapping?: string;
  promise: Promise<unknown>;
  inTransaction = false;
  isTraced = false;
  isSettled = false;
  readonly #mark: Mark;
  readonly #row: Row;
  readonly #name: string;
  // What is written, in physical names: copies that nobody else holds.
  readonly #args: readonly Argument[];
  readonly #command: Partial<Command>;
  readonly #isMade: boolean;
  #resolve: Caller['resolve'];
  #reject: Caller['reject'];
  #rare: Rare | undefined = undefined;
  // What its keys are entered by, which with a registry most of those that write have for a moment.
  #entry: Entry | undefined = undefined;

  constructor(mark: Mark, row: Row, name: string, args: readonly Argument[], caller: Caller) {
    super();
    this.promise = caller.promise;
    this.#mark = mark;
    this.#row = row;
    this.#name = name;
    this.#args = args;
    this.#command = caller.command;
    this.#isMade = caller.isMade;
    this.#resolve = caller.resolve;
    this.#reject = caller.reject;
  }

  static {
    Object.defineProperty(this.prototype, 'toWritable', { writable: false, configurable: false });
    // Whoever has found one in a queue could make another with it, in the names of any tenant.
    Object.defineProperty(this.prototype, 'constructor', {
      value: Command,
      writable: false,
      configurable: false,
    });
  }

  /** `command`, if it is one of these. */
  static of(command: unknown): Sent | undefined {
    return typeof command === 'object' && command !== null && #mark in command ? command : undefined;
  }

  get name(): string {
    return this.#rare?.denied === undefined ? this.#name : 'ping';
  }

  /** The arguments as the caller knows them: ioredis puts them into errors and into its tracing. */
  get args(): Argument[] {
    return logicalArgs(this.#row, this.#mark, this.#args, this.#rare?.given);
  }

  get mark(): Mark {
    return this.#mark;
  }

  get row(): Row {
    return this.#row;
  }

  /** Notes the error reply, in logical names: Redis repeats arguments in its texts. */
  read<E>(error: E): E {
    if (!(error instanceof Error)) return error;
    (this.#rare ??= {}).lastError = error;
    return readError(error, this.#mark, this);
  }

  // What changes one is no method: callers find them in the queues of ioredis.

  /** What few commands have, to note it; see rare.ts. */
  static rareOf(sent: Sent): Rare {
    return (sent.#rare ??= {});
  }

  /** The same, where something was noted. */
  static notedOf(sent: Sent): Rare | undefined {
    return sent.#rare;
  }

  /** Whether it is answered by walking the keys of the tenant. */
  get isWalk(): boolean {
    return this.#row.walk !== undefined && this.#mark instanceof TenantNames;
  }

  /** Whether somebody who has found it in a queue has given it other bytes. */
  get isAltered(): boolean {
    return Object.hasOwn(this, 'toWritable');
  }

  /** What was entered for it into registries. */
  static entryOf(sent: Sent): Entry | undefined {
    return sent.#entry;
  }

  static enter(sent: Sent, entry: Entry | undefined): void {
    sent.#entry = entry;
  }

  /** Whether the server may hold its reply back, and do its work then. */
  get waits(): boolean {
    return this.#row.blocks(this.#args);
  }

  /** What is written, in physical names. No member: with these arrays callers would have the keys of anybody. */
  static physicalOf(sent: Sent): readonly Argument[] {
    return sent.#args;
  }

  /** The physical keys, for the slot. */
  getKeys(): Argument[] {
    return keysOf(this.#row, this.#mark, this.#name, this.#args);
  }

  toWritable(): string | Buffer {
    const rare = this.#rare;
    if (rare !== undefined) rare.isWritten = true;
    if (rare?.denied !== undefined) return '*1\r\n$4\r\nping\r\n';
    return written(this.#row, this.#name, this.#args);
  }

  /** A reply that EXEC hands out for this command. */
  transformReply(reply: unknown): unknown {
    return inCaller(this.#mark, transformed, this.#command, this.#read(reply), this);
  }

  // Like those of ioredis they need no `this`: tracers such as OpenTelemetry's keep them, put their own in their place,
  // and call them as mere functions. Made when they are read: one for each command would cost more.

  get resolve(): Resolve {
    return this.#rare?.resolve ?? ((reply) => this.#resolved(reply));
  }

  set resolve(value: Resolve) {
    (this.#rare ??= {}).resolve = value;
  }

  get reject(): Reject {
    return this.#rare?.reject ?? ((error) => this.#told(error));
  }

  set reject(value: Reject) {
    (this.#rare ??= {}).reject = value;
  }

  #resolved(reply: unknown): Promise<unknown> {
    internals._clearTimers.call(this);
    const entry = this.#entry;
    if (entry?.isDue === true) {
      // Whether it may pass for done is not known yet.
      entry.wait(() => this.#resolved(reply));
      return this.promise;
    }
    const error = this.#rare?.denied ?? entry?.error;
    if (error !== undefined) {
      // Where a Cluster has put its own handling of errors in front, this goes through it, as with ioredis.
      this.reject(error);
      return this.promise;
    }
    try {
      // Else none of the caller's functions runs, and nothing of ours is worth entering their tenant for.
      if (this.#isMade && !isTransformed(this.#name)) this.#resolve.call(this.#command, this.#read(reply));
      else inCaller(this.#mark, resolved, this.#command, this.#read(reply), this, this.#resolve);
      this.isSettled = true;
      this.#settle();
    } catch (thrown) {
      // By a function of the caller, who could send a Cluster to a server of his own with it: `MOVED 1 his.host:1`.
      this.#rejected(thrown as Error);
    }
    return this.promise;
  }

  #told(error: Error): void {
    (this.#rare ??= {}).told = error;
    this.#rejected(error);
  }

  #rejected(error: Error): void {
    internals._clearTimers.call(this);
    this.isSettled = true;
    try {
      inCaller(this.#mark, rejected, this.#command, error, this.#reject);
    } catch (thrown) {
      // ioredis may be in the middle of the work of other callers.
      process.nextTick(() => {
        throw thrown;
      });
    }
    this.#settle();
  }

  /** Begins anew: a Cluster sends a whole pipeline again. */
  initPromise(): void {
    const { promise, resolve, reject } = inCaller(this.#mark, begun, this.#command);
    this.promise = promise;
    this.#resolve = resolve;
    this.#reject = reject;
    this.isSettled = false;
    // As with ioredis: whoever has put something in their place has heard the outcome, and comes by again.
    const rare = this.#rare;
    if (rare === undefined) return;
    delete rare.resolve;
    delete rare.reject;
    delete rare.told;
  }

  #read(reply: unknown): unknown {
    const rare = this.#rare;
    const error = rare?.denied ?? this.#entry?.error;
    if (error !== undefined) throw error;
    const mark = this.#mark;
    if (rare?.read !== undefined && mark instanceof TenantNames) return rare.read(reply, mark);
    return logicalReply(this.#row, mark, reply);
  }

  #settle(): void {
    const rare = this.#rare;
    const heard = rare?.whenSettled;
    if (rare === undefined || heard === undefined) return;
    delete rare.whenSettled;
    heard();
  }
}

import { Command } from 'ioredis';
import { Bare } from './bare.ts';
import { begun, rejected, resolved, transformed, type Caller } from './caller.ts';
import { logicalText } from './error-text.ts';
import { explain } from './explain.ts';
import { keyPlaces, patternPlaces, type Argument } from './keyspec.ts';
import type { Entry } from './entry.ts';
import { entranceOf } from './entrance.ts';
import { isSecret } from './login.ts';
import { isTransformed } from './methods.ts';
import { TenantNames } from './names.ts';
import { headFor, headOf, lengthOf, nextLengthOf, type Row } from './rows.ts';
import { callersContext, type Within } from './tracing.ts';

/** For whom a command of ioredis's own work is sent: nobody; it names nothing, and may be sent at any time. */
export const OWN: unique symbol = Symbol('tenantkit.cache.own');

/** For whom a command with raw names is sent that was made inside acrossTenants. */
export const RAW: unique symbol = Symbol('tenantkit.cache.raw');

/** MULTI and EXEC of one pipeline: in any other place they would open a transaction that nobody closes. */
export const BRACKET: unique symbol = Symbol('tenantkit.cache.bracket');

/** For whom a command was admitted. */
export type Mark = TenantNames | typeof OWN | typeof RAW | typeof BRACKET;

const translated = new WeakSet<Error>();

/** What few commands have. */
interface Rare {
  given?: readonly Argument[];
  place?: object;
  denied?: Error;
  lastError?: Error;
  whenSettled?: () => void;
  subject?: string;
  read?: Reader;
  isWritten?: boolean;
  resolve?: Resolve;
  reject?: Reject;
  told?: Error;
  within?: Within;
}

type Resolve = (reply: unknown) => unknown;
type Reject = (error: Error) => void;

/** Reads a reply in the place of the row. */
export type Reader = (reply: unknown, names: TenantNames) => unknown;

interface Internals {
  _clearTimers(this: object): void;
  _iterateKeys(this: { name: string; args: readonly Argument[]; keys: undefined }): Argument[];
}

const internals = Command.prototype as unknown as Internals;

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
    const args = this.#args;
    if (isSecret(this.#row.where.operation)) return [];
    // Copies: what is behind these Buffers is what is written.
    const logical = (this.#rare?.given ?? args).map(copied);
    const mark = this.#mark;
    const { rule, where } = this.#row;
    if (!(mark instanceof TenantNames) || rule.kind !== 'rewrite') return logical;
    for (const place of (keyPlaces(rule.rewrite, args) ?? []).concat(patternPlaces(rule.rewrite, args)))
      logical[place] = copied(mark.decode(args[place] as Argument, where.operation));
    return logical;
  }

  get mark(): Mark {
    return this.#mark;
  }

  get row(): Row {
    return this.#row;
  }

  /** Whether it stands between MULTI and EXEC, or is one of them: it is sent with all of them, or not at all. */
  get isPart(): boolean {
    return this.inTransaction || this.mark === BRACKET;
  }

  /** The error reply that ioredis may answer by sending the command again. */
  get lastError(): Error | undefined {
    return this.#rare?.lastError;
  }

  /** Notes the error reply, in logical names: Redis repeats arguments in its texts. */
  read<E>(error: E): E {
    const mark = this.#mark;
    if (!(error instanceof Error)) return error;
    (this.#rare ??= {}).lastError = error;
    // A redirection names no key, and ioredis reads the address out of it: `{tenant}:` and tenant 1 would change it.
    if (!(mark instanceof TenantNames) || /^(?:MOVED|ASK) /.test(error.message)) return explain(error);
    // Once: what is logical now may look physical.
    if (translated.has(error)) return error;
    translated.add(error);
    const keys = this.getKeys();
    error.message = logicalText(error.message, keys, mark);
    if (error.stack !== undefined) error.stack = logicalText(error.stack, keys, mark);
    return explain(error);
  }

  // What changes one is no method: callers find them in the queues of ioredis.

  /** Makes it a PING that answers with `error`: its place in a pipeline stays, and nothing else of it is sent. */
  static deny(sent: Sent, error: Error): Sent {
    (sent.#rare ??= {}).denied = error;
    return sent;
  }

  /** Notes what the caller gave, where it cannot be worked out from what is written. */
  static note(sent: Sent, given: readonly Argument[]): Sent {
    (sent.#rare ??= {}).given = given;
    return sent;
  }

  /** Binds it to where it was admitted: on another connection it would hold everybody up, or end it for them. */
  static tie(sent: Sent, place: object): void {
    (sent.#rare ??= {}).place = place;
  }

  /** Whether it may be sent there, as far as that was bound. */
  isAllowedIn(place: object): boolean {
    const bound = this.#rare?.place;
    return bound === undefined || bound === place;
  }

  /** Lets `read` make the names in its reply logical: what the reply holds depends on what was sent before. */
  static follow(sent: Sent, read: Reader): void {
    (sent.#rare ??= {}).read = read;
  }

  get isFollowed(): boolean {
    return this.#rare?.read !== undefined;
  }

  /** Whether it was followed, and written before: it is sent again, on another connection. */
  get isRepeated(): boolean {
    return this.isFollowed && this.#rare?.isWritten === true;
  }

  /** The reply in logical names. @throws {@link IsolationBreachError} */
  readReply(reply: unknown): unknown {
    const { read, where } = this.#row;
    const mark = this.#mark;
    return read !== undefined && mark instanceof TenantNames ? read(reply, mark, where.operation) : reply;
  }

  /** Whether it is answered by walking the keys of the tenant. */
  get isWalk(): boolean {
    return this.#row.walk !== undefined && this.#mark instanceof TenantNames;
  }

  /** Whether somebody who has found it in a queue has given it other bytes. */
  get isAltered(): boolean {
    return Object.hasOwn(this, 'toWritable');
  }

  /** Whether ioredis or the server has said so, and no code of the caller. */
  static isTold(sent: Sent, error: unknown): boolean {
    return sent.#rare?.told === error;
  }

  /** Calls `heard` when this is settled; one listener at most. */
  static whenSettled(sent: Sent, heard: () => void): void {
    (sent.#rare ??= {}).whenSettled = heard;
  }

  /** Keeps the context of the caller, where somebody wants to know whose call is sent. */
  static later(sent: Sent): void {
    const within = callersContext();
    if (within !== undefined) (sent.#rare ??= {}).within = within;
  }

  /** Sends one that has waited, or something for it, as if that were when it was called, as far as that was kept. */
  static asCalled(sent: Sent, send: (sent: Sent) => unknown): void {
    const within = sent.#rare?.within;
    if (within === undefined) send(sent);
    else within(() => send(sent));
  }

  /** Notes which person the caller works for. */
  static about(sent: Sent, subject: string): void {
    (sent.#rare ??= {}).subject = subject;
  }

  get subject(): string | undefined {
    return this.#rare?.subject;
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
    const { rule, first } = this.#row;
    if (first && this.#mark instanceof TenantNames) return this.#args.slice(0, 1);
    // The rows know commands that ioredis does not, such as those of modules.
    if (this.#mark instanceof TenantNames && rule.kind === 'rewrite')
      return (keyPlaces(rule.rewrite, this.#args) ?? []).map((place) => this.#args[place] as Argument);
    return internals._iterateKeys.call({ name: this.#name, args: this.#args, keys: undefined });
  }

  toWritable(): string | Buffer {
    const rare = this.#rare;
    if (rare !== undefined) rare.isWritten = true;
    if (rare?.denied !== undefined) return '*1\r\n$4\r\nping\r\n';
    const name = this.#name;
    const row = this.#row;
    const args = this.#args;
    // Few pieces: the text is put together when it is written, and each piece costs there once more.
    let text = row.name === name ? headFor(row, args.length) : headOf(name, args.length);
    let bytes: Buffer[] | undefined;
    for (let place = 0; place < args.length; place += 1) {
      const argument = args[place] as Argument;
      const isText = typeof argument === 'string';
      const length = isText ? Buffer.byteLength(argument) : argument.length;
      text += place === 0 ? lengthOf(length) : nextLengthOf(length);
      if (isText) {
        text += argument;
      } else {
        bytes ??= [];
        bytes.push(Buffer.from(text), argument);
        text = '';
      }
    }
    if (args.length > 0) text += '\r\n';
    if (bytes === undefined) return text;
    bytes.push(Buffer.from(text));
    return Buffer.concat(bytes);
  }

  /** A reply that EXEC hands out for this command. */
  transformReply(reply: unknown): unknown {
    return this.#inCaller(transformed, this.#command, this.#read(reply), this);
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
      else this.#inCaller(resolved, this.#command, this.#read(reply), this, this.#resolve);
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
      this.#inCaller(rejected, this.#command, error, this.#reject);
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
    const { promise, resolve, reject } = this.#inCaller(begun, this.#command);
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

  // A caller's own Command has methods of the caller. ioredis calls them in the midst of its own work, where what
  // they send, or end, would pass for ioredis's.
  #inCaller<A extends readonly unknown[], R>(fn: (...args: A) => R, ...args: A): R {
    const mark = this.#mark;
    return mark instanceof TenantNames ? entranceOf(mark)(fn, ...args) : fn(...args);
  }

  #read(reply: unknown): unknown {
    const rare = this.#rare;
    const error = rare?.denied ?? this.#entry?.error;
    if (error !== undefined) throw error;
    const mark = this.#mark;
    if (rare?.read !== undefined && mark instanceof TenantNames) return rare.read(reply, mark);
    return this.readReply(reply);
  }

  #settle(): void {
    const rare = this.#rare;
    const heard = rare?.whenSettled;
    if (rare === undefined || heard === undefined) return;
    delete rare.whenSettled;
    heard();
  }
}

// Not out of node's pool, which other Buffers share.
function copied(argument: Argument): Argument {
  return typeof argument === 'string' ? argument : Buffer.from(new Uint8Array(argument).buffer);
}

import { refusal, refuse, type Scope } from '@tenantkit/core';
import { Pipeline, type Callback, type Command } from 'ioredis';
import { asCommand, ownCommand, placeholder } from './command.ts';
import { explain } from './explain.ts';
import type { Guard } from './guard.ts';
import { Hidden } from './hidden.ts';
import { BRACKET } from './mark.ts';
import { pipelinePrototype } from './methods.ts';
import type { Place } from './misplaced.ts';
import { executed, type RawPipeline } from './pipeline-stream.ts';
import { answer, atRest, atWork } from './plumbing.ts';
import { isTold } from './rare.ts';
import { Sent } from './sent.ts';

const UNBALANCED = refuse(
  'MULTI and EXEC have to come in pairs, or the commands of other tenants fall into the transaction',
  'Use redis.multi(), or pipeline.multi() … exec() in the method form.',
);
const TWICE = refuse(
  'this Command object was queued before, and its replies could not be told apart',
  'Make a new Command for every call.',
);
const OWN_THEN = refuse(
  'the promise of this pipeline was changed, and ioredis would call what was put there in the midst of its work',
  'Call then() of what exec() returns.',
);

// From a caller they come in no pair. In other letter cases the table refuses them.
const BRACKETS: ReadonlySet<unknown> = new Set(['multi', 'exec']);

// As ioredis has them: the class declares one of them only.
const raw = Pipeline.prototype as unknown as Readonly<
  Record<'sendCommand' | 'exec' | 'fillResult', (this: RawPipeline, ...args: unknown[]) => unknown>
>;

/** What a function of a caller has thrown, and the result that it is. */
interface Thrown {
  readonly value: unknown[];
  readonly error: unknown;
}

/**
 * What one pipeline has queued, and what becomes of it. Commands are rewritten when they are queued, in the caller's
 * context: ioredis sends them much later, in the context of `exec` or of a reconnect.
 */
export class PipelineQueue {
  readonly #pipeline: RawPipeline;
  readonly #guard: Guard;
  readonly #owner: Scope;
  readonly #outside: Place;
  readonly #inside: Place;
  readonly #exec: RawPipeline['exec'];
  #open = false;
  readonly #closesItself: boolean;
  #refusedInside: Error | undefined;
  #thrown: Thrown[] | undefined;

  /** @param pipeline - of ioredis, in nobody's hands but ours */
  constructor(pipeline: object, guard: Guard, owner: Scope, place: Place) {
    const made = pipeline as RawPipeline;
    this.#pipeline = made;
    this.#guard = guard;
    this.#owner = owner;
    this.#outside = { ...place, isQueued: true };
    this.#inside = { ...place, isQueued: true, mayBlock: true };
    // One of redis.multi() inherits nothing of ours, has an `exec` of its own, and has queued its MULTI already.
    const isTransaction = !Object.prototype.isPrototypeOf.call(innerPrototype, made);
    // oxlint-disable-next-line typescript/unbound-method -- called on the pipeline
    this.#exec = isTransaction ? made.exec : raw.exec;
    Owned.give(made, this);
    const reject = made.reject.bind(made);
    // What ioredis itself says about the keys of a pipeline.
    define(made, 'reject', (error: Error) => reject(explain(error)));
    this.#open = this.#closesItself = isTransaction;
    if (isTransaction) this.#adopt();
  }

  get pipeline(): RawPipeline {
    return this.#pipeline;
  }

  /** Queues what a caller sends, or what fills its place. @throws TenantSwitchError in another tenant */
  send(command: Command): void {
    this.#assertHere('pipeline');
    const earlier = Sent.of(command);
    // As ioredis marks what it has sent.
    const again = earlier === undefined && command?.isTraced;
    const admitted = earlier !== undefined ? this.#foreign(earlier) : again ? twice() : this.#admit(command);
    if (!(admitted instanceof Error)) {
      command.isTraced = true;
      this.#add(admitted);
      return;
    }
    // What was queued before hears of its first place only.
    this.#fill(admitted, again ? undefined : command);
  }

  /**
   * Queues what ioredis itself sends: MULTI and EXEC of the method form; and, when a Cluster sends the pipeline to
   * another node, everything anew, with ASKING in between.
   */
  take(command: Command): unknown {
    const earlier = Sent.of(command);
    // The promise of a caller's own Command is the caller's, and ioredis asks for its `then`.
    if (earlier !== undefined) return atRest(() => this.#add(earlier));
    const { name } = command;
    if (name === 'asking') return this.#add(asking(command));
    this.#assertHere(name);
    const opens = name === 'multi';
    // Its argument could not be made a text: ioredis has rejected it before it gave it a `reject`.
    if (typeof command.reject !== 'function') return this.#fill(refusal('cache', name, UNBALANCED), command);
    if (opens === this.#open) return this.#fill(refusal('cache', name, UNBALANCED), command);
    this.#open = opens;
    return this.#add(ownCommand(name, command, BRACKET));
  }

  /** Sends what is queued, unless a MULTI would be left open; or ends a transaction of the method form. */
  exec(...args: unknown[]): unknown {
    const own = this.#pipeline;
    const [callback] = args as [Callback | undefined];
    const sends = this.#closesItself || own._transactions === 0;
    let error = this.#guard.elsewhere(this.#owner, 'exec');
    if (error === undefined && isChanged(own.promise)) error = refusal('cache', 'exec', OWN_THEN);
    if (error === undefined && sends) {
      error = this.#refusedInside ?? (this.#isBalanced() ? undefined : refusal('cache', 'exec', UNBALANCED));
      // Their callbacks would wait for ever: nothing of it is sent.
      if (error !== undefined) for (const command of own._queue) Sent.of(command)?.reject(error);
    }
    if (error !== undefined) return answer(Promise.reject(error), callback);
    try {
      // What was called before comes before.
      this.#guard.registry?.flush();
      // Handed on as an argument, even `undefined` would become one of EXEC.
      return executed(own, () =>
        callback === undefined ? this.#exec.call(own) : this.#exec.call(own, callback),
      );
    } catch (thrown) {
      return answer(Promise.reject(thrown as Error), callback);
    }
  }

  /** Takes a reply in, or an error. */
  settle(value: unknown[], position: number): void {
    const own = this.#pipeline;
    const reply = value[1];
    if (Array.isArray(reply) && own._queue[position]?.name === 'exec') {
      const first = position - reply.length;
      for (const [index, item] of reply.entries()) Sent.of(own._queue[first + index])?.read(item);
    }
    const [error] = value;
    const sent = Sent.of(own._queue[position]);
    if (own.isCluster && error !== null && sent !== undefined && !isTold(sent, error)) {
      // By a function of the caller: a Cluster would follow `MOVED 1 his.host:1`. It is put back when all is there.
      (this.#thrown ??= []).push({ value, error });
      value[0] = new Error('thrown by the caller');
    }
    // A cluster sends it again from here, in the context of whoever waits for the reply.
    atWork(() => raw.fillResult.call(own, value, position));
    if (this.#thrown === undefined || own.replyPending > 0) return;
    for (const { value, error } of this.#thrown) value[0] = error;
    this.#thrown = undefined;
  }

  #admit(command: Command): Sent | Error {
    const name: unknown = command?.name;
    if (BRACKETS.has(name)) return refusal('cache', name as string, UNBALANCED);
    const guard = this.#guard;
    return this.#open
      ? guard.admit(command, this.#inside, this.#pipeline)
      : guard.admit(command, this.#outside);
  }

  #add(sent: Sent): unknown {
    return raw.sendCommand.call(this.#pipeline, sent);
  }

  #fill(error: Error, command: Command | undefined): unknown {
    if (this.#open) this.#refusedInside ??= error;
    // oxlint-disable-next-line promise/no-promise-in-callback -- no callback
    if (typeof command?.reject === 'function') command.promise.catch(ignore);
    return this.#add(placeholder(error, command));
  }

  #assertHere(operation: string): void {
    const elsewhere = this.#guard.elsewhere(this.#owner, operation);
    if (elsewhere !== undefined) throw elsewhere;
  }

  #foreign(command: Sent): Error {
    return this.#guard.foreign(command) ?? twice();
  }

  // Whether every MULTI of the queue has its EXEC; that of redis.multi() comes last, from ioredis.
  #isBalanced(): boolean {
    return this.#open === (this.#closesItself && this.#pipeline._transactions > 0);
  }

  #adopt(): void {
    const own = this.#pipeline;
    for (const [name, value] of Object.entries(INNER)) define(own, name, value);
    const begun = own._queue as Command[];
    for (const [index, command] of begun.splice(0).entries()) {
      const sent = ownCommand('multi', command, BRACKET);
      sent.inTransaction = true;
      sent.pipelineIndex = index;
      begun.push(asCommand(sent));
    }
  }
}

// What ioredis calls on the pipelines that it works with.
const INNER = {
  sendCommand(this: RawPipeline, command: Command): unknown {
    return Owned.queueOf(this).take(command);
  },
  exec(this: RawPipeline, ...args: unknown[]): unknown {
    return Owned.queueOf(this).exec(...args);
  },
  fillResult(this: RawPipeline, value: unknown[], position: number): void {
    Owned.queueOf(this).settle(value, position);
  },
};

/** What the pipelines inherit that ioredis works with, in the place of its class. */
export const innerPrototype: object = Object.create(pipelinePrototype) as object;
for (const [name, value] of Object.entries(INNER)) define(innerPrototype, name, value);

class Owned extends Hidden {
  readonly #queue: PipelineQueue;

  constructor(pipeline: RawPipeline, queue: PipelineQueue) {
    super(pipeline);
    this.#queue = queue;
  }

  static give(pipeline: RawPipeline, queue: PipelineQueue): object {
    return new Owned(pipeline, queue);
  }

  static queueOf(pipeline: object): PipelineQueue {
    return (pipeline as Owned).#queue;
  }
}

// As an assignment would, but for what V8 makes of it: for a function that is assigned it keeps a hidden class, and
// with it the pipeline and its commands, until it collects the old generation (see `lighten`).
function define(pipeline: object, name: string, value: unknown): void {
  Object.defineProperty(pipeline, name, { value, writable: true, enumerable: true, configurable: true });
}

// While `exec` runs, a connection that is lent shows its socket.
function isChanged(promise: object): boolean {
  if (Object.getPrototypeOf(promise) !== Promise.prototype) return true;
  return Object.hasOwn(promise, 'then') || Object.hasOwn(promise, 'constructor');
}

function twice(): Error {
  return refusal('cache', 'pipeline', TWICE);
}

function asking(command: Command): Sent {
  const sent = ownCommand('asking', command);
  sent.ignore = true;
  return sent;
}

function ignore(): void {
  // The refusal is the result of the command's place.
}

import { refusal, refuse, type Scope } from '@tenantkit/core';
import { Pipeline, type Command } from 'ioredis';
import type { Guard } from './guard.ts';
import { pipelinePrototype, sendsAsOurs } from './methods.ts';
import type { Place } from './misplaced.ts';
import { PipelineQueue } from './pipeline-queue.ts';
import { ruleOf } from './rules.ts';

const OF_CLIENT = refuse(
  'a pipeline gets its methods from the client that makes it',
  'Call it on the client when the service starts; the pipelines made afterwards have the command.',
);

// Methods of a pipeline that the array form may name beside commands.
const METHODS: ReadonlySet<unknown> = new Set(['call', 'callBuffer', 'multi', 'exec']);

/**
 * Makes a pipeline of ioredis one of the tenant it is made in. ioredis works with its own object, which no caller
 * gets: whoever could put another `redis`, `exec` or queue there would get the replies of others, or run as ioredis.
 *
 * A command that is refused keeps its place, where a PING is sent that answers with the refusal; a transaction
 * with such a command is not sent at all.
 *
 * @param made - of ioredis; nothing else may hold it
 * @param type - of {@link pipelinesOf} its client
 * @returns what the caller gets
 */
export function guardPipeline(
  made: object,
  type: PipelineType,
  guard: Guard,
  owner: Scope,
  place: Place,
): OwnPipeline {
  return new type(new PipelineQueue(made, guard, owner, place), guard);
}

/** What the pipelines of one client are made with. */
export type PipelineType = new (queue: PipelineQueue, guard: Guard) => OwnPipeline;

/**
 * The class of the pipelines of one client. ioredis puts what is defined on each pipeline, which costs each pipeline
 * as much as there are definitions; here they inherit it.
 *
 * @param names - of the methods that were defined on the client
 */
export function pipelinesOf(client: object, names: readonly string[]): PipelineType {
  if (names.length === 0) return OwnPipeline;
  const type = class extends OwnPipeline {};
  const methods = names.flatMap((name) => [name, `${name}Buffer`]);
  for (const name of methods)
    Object.defineProperty(type.prototype, name, {
      value: Reflect.get(client, name),
      writable: true,
      enumerable: true,
      configurable: true,
    });
  Object.defineProperty(type.prototype, 'constructor', { value: Pipeline });
  return type;
}

// What it inherits: the constructor of ioredis would make a pipeline of its own.
function Inherited(): void {}
Inherited.prototype = pipelinePrototype;

/** What callers hold: the methods of a pipeline of ioredis, and what it tells about itself. */
class OwnPipeline extends (Inherited as unknown as new () => object) {
  readonly #queue: PipelineQueue;
  readonly #guard: Guard;

  constructor(queue: PipelineQueue, guard: Guard) {
    super();
    this.#queue = queue;
    this.#guard = guard;
  }

  static {
    // Nobody makes one with it.
    Object.defineProperty(this.prototype, 'constructor', { value: Pipeline });
    // oxlint-disable-next-line typescript/unbound-method -- compared only
    sendsAsOurs(this.prototype.sendCommand);
  }

  sendCommand(command: Command): this {
    this.#queue.send(command);
    return this;
  }

  exec(...args: unknown[]): unknown {
    return this.#shown(this.#queue.exec(...args));
  }

  execBuffer(...args: unknown[]): unknown {
    return this.#shown(this.#queue.pipeline.execBuffer(...args));
  }

  multi(...args: unknown[]): this {
    this.#queue.pipeline.multi(...args);
    return this;
  }

  addBatch(commands: readonly unknown[]): this {
    for (const [name, ...args] of commands as unknown[][]) {
      // ioredis calls whatever method the array names, `sendCommand` and `__defineSetter__` among them.
      const method: unknown = isMethod(name, this.#guard) ? Reflect.get(this, name) : undefined;
      if (typeof method === 'function') method.apply(this, args);
      else Reflect.apply(CALL, this, [typeof name === 'string' ? name : 'addBatch', ...args]);
    }
    return this;
  }

  defineCommand(): never {
    throw refusal('cache', 'defineCommand', OF_CLIENT);
  }

  addBuiltinCommand(): never {
    throw refusal('cache', 'addBuiltinCommand', OF_CLIENT);
  }

  fillResult(): void {
    // ioredis tells its own object.
  }

  get length(): number {
    return this.#queue.pipeline._queue.length;
  }

  get redis(): object {
    return this.#queue.pipeline.redis;
  }

  get isPipeline(): true {
    return true;
  }

  get isCluster(): boolean {
    return this.#queue.pipeline.isCluster;
  }

  get options(): object {
    return this.#queue.pipeline.options;
  }

  get promise(): Promise<unknown> {
    return this.#queue.pipeline.promise;
  }

  get replyPending(): number {
    return this.#queue.pipeline.replyPending;
  }

  get preferKey(): string | undefined {
    return this.#queue.pipeline.preferKey;
  }

  /** What is queued, to look at: with the commands that are sent a caller would have what settles and writes them. */
  get _queue(): readonly { readonly name: string; readonly args: readonly unknown[] }[] {
    return this.#queue.pipeline._queue.map(({ name, args }) => Object.freeze({ name, args }));
  }

  /** A copy. */
  get _result(): unknown[] {
    return [...this.#queue.pipeline._result];
  }

  get _transactions(): number {
    return this.#queue.pipeline._transactions;
  }

  #shown(returned: unknown): unknown {
    return returned === this.#queue.pipeline ? this : returned;
  }
}

const CALL = Reflect.get(pipelinePrototype, 'call') as () => unknown;

function isMethod(name: unknown, { scripts }: Guard): name is string {
  if (typeof name !== 'string') return false;
  if (scripts.isMethod(name)) return true;
  return METHODS.has(name) || ruleOf(name) !== undefined || ruleOf(name.replace(/Buffer$/, '')) !== undefined;
}

export type { OwnPipeline };

import { Command } from 'ioredis';
import { Bare } from './bare.ts';
import { FRAME, type Argument } from './keyspec.ts';
import type { Caller } from './caller.ts';
import { LONGEST } from './own-arguments.ts';

type Transformers = Readonly<Record<string, unknown>>;

const transformers = (Command as unknown as { _transformer: { argument: Transformers } })._transformer;

/**
 * What a method makes when it gets texts and numbers alone: a Command of ioredis without what that does for all other
 * arguments. What counts is in private fields, so that nothing of a caller is on it, whoever has had it in hand.
 */
export class Light extends Bare {
  readonly name: string;
  readonly replyEncoding: BufferEncoding | null;
  isTraced = false;
  #args: Argument[] | undefined;
  #promise: Promise<unknown>;
  #resolve: (reply: unknown) => void;
  #reject: (error: Error) => void;

  constructor(name: string, args: Argument[], replyEncoding: BufferEncoding | null) {
    super();
    this.name = name;
    this.replyEncoding = replyEncoding;
    this.#args = args;
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#promise = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  /**
   * @param given - nobody else may hold it
   * @returns `undefined` for arguments that ioredis has to look at
   */
  static from(name: string, given: unknown[], replyEncoding: BufferEncoding | null): Light | undefined {
    if (transformers.argument[name] !== undefined) return undefined;
    let length = 0;
    for (let place = 0; place < given.length; place += 1) {
      let argument = given[place];
      if (isPlain(argument)) given[place] = argument = String(argument);
      if (typeof argument !== 'string') return undefined;
      length += argument.length + FRAME;
    }
    // What is too long is refused where everything is.
    return length < LONGEST ? new Light(name, given as string[], replyEncoding) : undefined;
  }

  /** What settles `command`, if it is one of these. */
  static callerOf(command: object): Caller | undefined {
    if (!(#args in command)) return undefined;
    return {
      command: command as unknown as Partial<Command>,
      promise: command.#promise,
      resolve: settle,
      reject: fail,
      isMade: true,
    };
  }

  /** The arguments of `command`, if it is one of these: once, and then they are whose who has asked. */
  static take(command: object): Argument[] | undefined {
    if (!(#args in command)) return undefined;
    const args = command.#args;
    command.#args = undefined;
    return args;
  }

  static settle(command: Light, reply: unknown): void {
    command.#resolve(Command.prototype.transformReply.call(command, reply as Buffer));
  }

  static fail(command: Light, error: Error): void {
    command.#reject(error);
  }

  get args(): Argument[] {
    return [...(this.#args ?? [])];
  }

  get promise(): Promise<unknown> {
    return this.#promise;
  }

  resolve(reply: unknown): void {
    Light.settle(this, reply);
  }

  reject(error: Error): void {
    Light.fail(this, error);
  }

  /** Begins anew: a Cluster sends a whole pipeline again. */
  initPromise(): void {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#promise = promise;
    this.#resolve = resolve;
    this.#reject = reject;
  }
}

function settle(this: unknown, reply: unknown): void {
  Light.settle(this as Light, reply);
}

function fail(this: unknown, error: Error): void {
  Light.fail(this as Light, error);
}

// Beyond the safe integers ioredis writes a number in another way.
function isPlain(argument: unknown): argument is number {
  return typeof argument === 'number' && (!Number.isInteger(argument) || Number.isSafeInteger(argument));
}

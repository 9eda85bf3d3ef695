import { Command, Pipeline, Redis as RawRedis, type Callback } from 'ioredis';
import { Light } from './light.ts';

/** What the methods of ioredis expect of the client or pipeline that they belong to. */
interface Host {
  readonly options: { readonly showFriendlyErrorStack?: boolean };
  sendCommand(command: Command): unknown;
}

type Method = (this: Host, ...args: unknown[]) => unknown;

// What the clients of ioredis have mixed in, and what its pipelines inherit.
const COMMANDER = Object.getPrototypeOf(Pipeline.prototype) as object;

const replies = (Command as unknown as { _transformer: { reply: Readonly<Record<string, unknown>> } })
  ._transformer;

// The Command that a method of ours has made right now. Nobody else has seen it: what is on it is ioredis's own.
let made: Command | undefined;

// Our own `sendCommand` of clients and pipelines, which hand on what they get and show it to nobody.
const sends = new Set<unknown>();

/**
 * Whether a method of ours has made a Command and handed it straight to us. Nothing of a caller is on such a one,
 * so that it can be settled in the midst of ioredis's work; a mark on it could be copied, this cannot. Asked once.
 */
export function isMade(command: unknown): boolean {
  const is = command === made;
  made = undefined;
  return is;
}

/** Whether somebody has asked for the replies of a command: with a function that ioredis calls at every reply. */
export function isTransformed(name: string): boolean {
  return replies.reply[name] !== undefined;
}

/**
 * Gives a class of clients the methods of ioredis as methods of its own, which do the same: they are known to be
 * nobody's functions but ours.
 *
 * @param prototype - that of the class; what it has by itself stays
 */
export function ownMethods(prototype: object): void {
  sends.add(Reflect.get(prototype, 'sendCommand'));
  for (const [name, method] of METHODS) if (!Object.hasOwn(prototype, name)) inherit(prototype, name, method);
}

/** Makes `send` one of those that hand on what they get and show it to nobody. */
export function sendsAsOurs(send: unknown): void {
  sends.add(send);
}

/** What pipelines of ours inherit: the same methods, as far as pipelines of ioredis have no other. */
export const pipelinePrototype: object = Object.create(Pipeline.prototype) as object;

const METHODS: ReadonlyMap<string, Method> = new Map(
  RawRedis.prototype.getBuiltinCommands().flatMap((name): [string, Method][] => [
    [name, methodOf(name, 'utf8')],
    [`${name}Buffer`, methodOf(name, null)],
  ]),
);
for (const [name, method] of METHODS) inherit(pipelinePrototype, name, method);

// Where ioredis has something else under the name of a command, that stays.
function inherit(prototype: object, name: string, value: Method): void {
  if (Reflect.get(prototype, name) !== Reflect.get(COMMANDER, name)) return;
  Object.defineProperty(prototype, name, { value, writable: true, enumerable: true, configurable: true });
}

// What ioredis makes of every command: see `generateFunction` there.
function methodOf(name: string, encoding: BufferEncoding | null): Method {
  const method: Method = function (...args) {
    // Read once, as below.
    // oxlint-disable-next-line typescript/unbound-method -- called on this
    const own = this.sendCommand;
    if (this.options.showFriendlyErrorStack !== true && sends.has(own)) {
      const light = Light.from(name, args, encoding);
      if (light !== undefined) return own.call(this, light as unknown as Command);
    }
    const last = args.at(-1);
    const callback = typeof last === 'function' ? (args.pop() as Callback<unknown>) : undefined;
    const errorStack = this.options.showFriendlyErrorStack === true ? new Error() : undefined;
    // ioredis takes its own frames off, and this is none of them.
    if (errorStack !== undefined) Error.captureStackTrace(errorStack, method);
    const options = { errorStack, replyEncoding: encoding };
    const command = new Command(name, args as string[], options as object, callback);
    // Read once. Any other function could keep the Command, and change it later.
    // oxlint-disable-next-line typescript/unbound-method -- called on this below
    const send = this.sendCommand;
    made = sends.has(send) ? command : undefined;
    return send.call(this, command);
  };
  return method;
}

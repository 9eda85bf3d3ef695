import { S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { refusal, refuse, ruleFor, type Rule } from '@tenantkit/core';
import * as allowed from './commands.ts';
import { rules, type CommandPlan } from './rules.ts';
import { outside } from './running.ts';

/** A command of the SDK, as far as it is sent. */
interface Command {
  readonly input: object;
}
type CommandClass = new (input: object) => Command;

/** What a call may be given besides its command. */
interface SendOptions {
  readonly abortSignal?: unknown;
  readonly requestTimeout?: number;
}

type Callback = (error: unknown, output?: unknown) => void;
export type SendArguments = readonly [
  command: unknown,
  optionsOrCallback?: object | Callback,
  callback?: Callback,
];

const CLASSES: ReadonlyMap<string, CommandClass> = new Map(Object.entries(allowed) as never);

const NAMES: ReadonlyMap<object, string> = new Map(
  [...CLASSES].map(([name, { prototype }]) => [prototype as object, name]),
);

/** Names of the steps that the SDK itself adds to a command when it is sent, by the command's class. */
const STEPS = new Map<CommandClass, ReadonlySet<string>>();

/**
 * The arguments of `send` as the SDK gets them inside of a tenant: a command of the SDK's own class, made anew with the
 * caller's input, and options that are plain data. Code that came with a command would run in the midst of a call, among
 * what all tenants share (endpoints, schemas, signers, retries), and after the last check.
 *
 * @throws OperationRefusedError
 */
export function ownArguments([command, given]: readonly [unknown, unknown?]): readonly [
  Command,
  SendOptions | undefined,
] {
  const own = ownCommand(command);
  return [own, outside(() => plainOptions(operationOf(own), given))];
}

/**
 * The command of the SDK's own class that a given one is, with its input.
 *
 * @throws OperationRefusedError when no tenant may send it, or when it brings code of its own
 */
export function ownCommand(command: unknown): Command {
  const operation = outside(() => operationOf(command));
  const rule: Rule<CommandPlan> | undefined = ruleFor(rules, operation);
  const Class = CLASSES.get(operation);
  if (rule?.kind !== 'rewrite' || Class === undefined)
    throw refusal('storage', operation, rule?.kind === 'refuse' ? rule : undefined);
  if (outside(() => hasOwnCode(command as object, Class))) throw refusal('storage', operation, OWN_CODE);
  const own = new Class(outside(() => Reflect.get(command as object, 'input') as object));
  made.add(own);
  return own;
}

/** The commands that were made here and not sent yet, which nobody else has. */
const made = new WeakSet<object>();

/** Whether a command was made here: then it has built its chain itself, up to its last step. Once. */
export function isOwn(command: object): boolean {
  return made.delete(command);
}

/** What `send` answers when nothing is sent. */
export function refused(error: unknown, listener: Callback | undefined): Promise<never> | undefined {
  if (listener === undefined) return Promise.reject(error);
  void tell(listener, error);
  return undefined;
}

async function tell(listener: Callback, error: unknown): Promise<void> {
  await Promise.resolve();
  try {
    listener(error);
  } catch {
    // As the SDK's: what a callback throws reaches nobody.
  }
}

/**
 * The name of a command: of one of another copy of the SDK, or of a minified one, that of its schema. One that lies
 * about it becomes the command that it says it is.
 */
export function operationOf(command: unknown): string {
  if (typeof command !== 'object' || command === null) return 'send';
  for (let at: object | null = command; at !== null; at = Reflect.getPrototypeOf(at)) {
    const name = NAMES.get(at);
    if (name !== undefined) return name;
  }
  const schema: unknown = Reflect.get(command, 'schema');
  const operation: unknown = Array.isArray(schema) ? schema[2] : undefined;
  if (typeof operation === 'string') return `${operation}Command`;
  const { name }: { readonly name?: unknown } = command.constructor;
  return typeof name === 'string' ? name : 'send';
}

// It would not be run: better to say so than to leave it out.
function hasOwnCode(command: object, Class: CommandClass): boolean {
  const resolve: unknown = Reflect.get(command, 'resolveMiddleware');
  const isOurs = command instanceof Class;
  if (
    isOurs
      ? resolve !== Reflect.get(Class.prototype as object, 'resolveMiddleware')
      : Object.hasOwn(command, 'resolveMiddleware')
  )
    return true;
  const stack = Reflect.get(command, 'middlewareStack') as
    | Partial<RawS3Client['middlewareStack']>
    | undefined;
  const added = stack?.identify?.() ?? [];
  if (added.length === 0) return false;
  // One that was sent before has steps of the SDK's.
  const usual = stepsOf(Class);
  return added.some((step) => !usual.has(step));
}

let probeClient: RawS3Client | undefined;

function stepsOf(Class: CommandClass): ReadonlySet<string> {
  const known = STEPS.get(Class);
  if (known !== undefined) return known;
  const probe = new Class({ Bucket: 'probe', Key: 'probe' }) as Command & RawS3Client;
  const { resolveMiddleware } = probe as unknown as {
    readonly resolveMiddleware: (...args: unknown[]) => unknown;
  };
  // Not of the client that was given: it may be any object, and what is found counts for all.
  probeClient ??= new RawS3Client({ region: 'probe' });
  resolveMiddleware.call(probe, probeClient.middlewareStack, probeClient.config, {});
  const steps = new Set(probe.middlewareStack.identify());
  STEPS.set(Class, steps);
  return steps;
}

/** Read once: what answers differently the next time, or throws, would do so when a connection is already taken. */
function plainOptions(operation: string, given: unknown): SendOptions | undefined {
  if (given === undefined || given === null) return undefined;
  const { abortSignal, requestTimeout, ...others } = given as Record<string, unknown>;
  const [other] = Object.keys(others);
  if (other !== undefined) throw refusal('storage', operation, UNKNOWN_OPTION);
  if (requestTimeout === undefined) return { abortSignal };
  if (typeof requestTimeout !== 'number' || !(requestTimeout >= 0 && requestTimeout <= MAX_TIMEOUT))
    throw refusal('storage', operation, NO_TIMEOUT);
  return { abortSignal, requestTimeout };
}

/** The longest that a timer of the platform takes, in milliseconds. */
const MAX_TIMEOUT = 2 ** 31 - 1;

const OWN_CODE = refuse(
  'the command has middleware or a resolveMiddleware of its own, which would run among the calls of all tenants',
  'Add middleware to the client, for all tenants: client.middlewareStack.add(…); headers of yours need tenant.headers.',
);
const UNKNOWN_OPTION = refuse(
  'send was given an option other than abortSignal and requestTimeout',
  'Leave it out, or give it to the constructor of the client.',
);
const NO_TIMEOUT = refuse(
  `requestTimeout is no number from 0 to ${MAX_TIMEOUT}`,
  'Give milliseconds, or leave it out.',
);

import { refusal, refuse, type Scope } from '@tenantkit/core';
import type { Callback, Command } from 'ioredis';
import { asCommand, ownCommand, placeholder } from './command.ts';
import { BRACKET, Sent } from './sent.ts';
import { explain } from './explain.ts';
import { TenantNames } from './names.ts';
import type { Guard } from './guard.ts';
import type { Place } from './misplaced.ts';
import { ownSend } from './methods.ts';
import { answer, atWork, isPlumbing } from './plumbing.ts';
import { ruleOf } from './rules.ts';

/** What ioredis keeps in a pipeline, and what it calls there. */
export interface RawPipeline {
  readonly _queue: readonly Command[];
  /** How many MULTI are open. */
  readonly _transactions: number;
  readonly isPipeline: boolean;
  sendCommand(command: Command): unknown;
  exec(callback?: Callback): unknown;
  fillResult(value: unknown[], position: number): void;
  reject(error: Error): void;
  addBatch(commands: readonly unknown[]): unknown;
  call(...args: unknown[]): unknown;
  defineCommand(...args: unknown[]): unknown;
  addBuiltinCommand(...args: unknown[]): unknown;
}

/** One call of `exec`: ioredis makes a stream for it, and sends every command of the queue with that. */
interface Run {
  readonly pipeline: RawPipeline;
  stream: object | undefined;
}

const UNBALANCED = refuse(
  'MULTI and EXEC have to come in pairs, or the commands of other tenants fall into the transaction',
  'Use redis.multi(), or pipeline.multi() … exec() in the method form.',
);
const TWICE = refuse(
  'this Command object was queued before, and its replies could not be told apart',
  'Make a new Command for every call.',
);

const OF_CLIENT = refuse(
  'a pipeline gets its methods from the client that makes it',
  'Call it on the client when the service starts; the pipelines made afterwards have the command.',
);

// What pipelines of ioredis inherit beside commands: it could put a command in the place of `sendCommand`.
const DEFINING = (['defineCommand', 'addBuiltinCommand'] as const).map(
  (name) =>
    [
      name,
      (): never => {
        throw refusal('cache', name, OF_CLIENT);
      },
    ] as const,
);

const BRACKETS: ReadonlySet<unknown> = new Set(['multi', 'exec', 'asking']);

// Methods of a pipeline that the array form may name beside commands.
const METHODS: ReadonlySet<unknown> = new Set(['call', 'callBuffer', 'multi', 'exec']);

// The `exec` that runs now, and the streams that ioredis has made in one. No caller can make such a stream: what
// is sent with another is queued for a reply and never written, so it gets the reply of whoever comes next.
let executing: Run | undefined;

/**
 * Makes a pipeline of ioredis one of the tenant it is made in. Its commands are rewritten when they are queued,
 * in the caller's context: ioredis sends them much later, in the context of `exec` or of a reconnect.
 *
 * A command that is refused keeps its place, where a PING is sent that answers with the refusal; a transaction
 * with such a command is not sent at all.
 */
export function guardPipeline(pipeline: object, guard: Guard, owner: Scope, place: Place): void {
  const raw = pipeline as RawPipeline;
  const sendCommand = raw.sendCommand.bind(raw);
  const exec = raw.exec.bind(raw);
  const fillResult = raw.fillResult.bind(raw);
  const outside: Place = { ...place, isQueued: true };
  const inside: Place = { ...outside, mayBlock: true };
  let open = false;
  let closesItself = false;
  // A cluster queues everything anew, with ASKING in between, when it sends the pipeline to another node.
  let requeueing = false;
  let refusedInside: Error | undefined;

  const admit = (command: Command): Sent | Error => {
    const name: unknown = command?.name;
    // In other letter cases they come from no method of ioredis: the table refuses them.
    if (!BRACKETS.has(name)) return open ? guard.admit(command, inside, raw) : guard.admit(command, outside);
    if (name === 'asking') return requeueing ? asking(command) : guard.admit(command);
    const opens = name === 'multi';
    // ioredis counts the transactions of the method form before it comes here, and those of no other form.
    if (opens === open || raw._transactions !== (opens ? 1 : 0))
      return refusal('cache', opens ? 'multi' : 'exec', UNBALANCED);
    open = opens;
    return ownCommand(opens ? 'multi' : 'exec', command, BRACKET);
  };

  const send = (command: Command): unknown => {
    const elsewhere = guard.elsewhere(owner, 'pipeline');
    if (elsewhere !== undefined) throw elsewhere;
    const earlier = Sent.of(command);
    if (earlier !== undefined && requeueing && earlier.isOf(raw)) return sendCommand(command);
    // As ioredis marks what it has sent.
    const again = earlier === undefined && command?.isTraced;
    const admitted = earlier !== undefined ? foreign(guard, earlier) : again ? twice() : admit(command);
    if (!(admitted instanceof Error)) {
      command.isTraced = true;
      Sent.join(admitted, raw);
      return sendCommand(asCommand(admitted));
    }
    if (open) refusedInside ??= admitted;
    // What was queued before hears of its first place only.
    const filler = placeholder(admitted, again ? undefined : command);
    if (!again && typeof command?.reject === 'function') command.promise.catch(ignore);
    Sent.join(filler, raw);
    return sendCommand(asCommand(filler));
  };
  define(raw, 'sendCommand', send);
  ownSend(raw, send);

  define(raw, 'exec', (callback) => {
    const sends = closesItself || raw._transactions === 0;
    let error = guard.elsewhere(owner, 'exec');
    if (error === undefined && sends) {
      error =
        refusedInside ?? (isBalanced(raw, closesItself) ? undefined : refusal('cache', 'exec', UNBALANCED));
      // Their callbacks would wait for ever: nothing of it is sent.
      if (error !== undefined) for (const command of raw._queue) Sent.of(command)?.reject(error);
    }
    if (error !== undefined) return answer(Promise.reject(error), callback);
    const outer = executing;
    executing = { pipeline: raw, stream: undefined };
    try {
      // What was called before comes before.
      guard.registry?.flush();
      // Handed on as an argument, even `undefined` would become one of EXEC.
      return callback === undefined ? exec() : exec(callback);
    } catch (thrown) {
      return answer(Promise.reject(thrown as Error), callback);
    } finally {
      executing = outer;
    }
  });

  define(raw, 'fillResult', (value, position) => {
    const reply = value[1];
    if (Array.isArray(reply) && raw._queue[position]?.name === 'exec') {
      const first = position - reply.length;
      for (const [index, item] of reply.entries()) {
        Sent.of(raw._queue[first + index])?.read(item);
      }
    }
    requeueing = true;
    try {
      // A cluster sends it again from here, in the context of whoever waits for the reply.
      atWork(() => fillResult(value, position));
    } finally {
      requeueing = false;
    }
  });

  // What ioredis itself says about the keys of a pipeline.
  const reject = raw.reject.bind(raw);
  define(raw, 'reject', (error) => reject(explain(error)));

  define(raw, 'addBatch', (commands) => {
    for (const [name, ...args] of commands as unknown[][]) {
      // ioredis calls whatever method the array names, `sendCommand` and `__defineSetter__` among them.
      const method: unknown = isMethod(name, guard) ? Reflect.get(raw, name) : undefined;
      if (typeof method === 'function') method.apply(raw, args);
      else raw.call(typeof name === 'string' ? name : 'addBatch', ...args);
    }
    return raw;
  });

  for (const [name, refused] of DEFINING) define(raw, name, refused);

  // redis.multi() has queued its MULTI already.
  const begun = raw._queue as Command[];
  for (const [index, command] of begun.splice(0).entries()) {
    open = closesItself = index === 0 && command.name === 'multi';
    const sent = ownCommand('multi', command, BRACKET);
    Sent.join(sent, raw);
    sent.inTransaction = true;
    sent.pipelineIndex = index;
    begun.push(asCommand(sent));
  }
}

// As an assignment would, but for what V8 makes of it: for a function that is assigned it keeps a hidden class, and
// with it the pipeline and its commands, until it collects the old generation (see `lighten`).
function define<Name extends keyof RawPipeline>(
  raw: RawPipeline,
  name: Name,
  value: RawPipeline[Name],
): void {
  Object.defineProperty(raw, name, { value, writable: true, enumerable: true, configurable: true });
}

/** Whether ioredis writes a pipeline right now: nothing of a caller runs meanwhile. */
export function isExecuting(): boolean {
  return executing !== undefined;
}

/** Queues the commands of the array form. */
export function addCommands(pipeline: object, commands: readonly unknown[]): void {
  (pipeline as RawPipeline).addBatch(commands);
}

/**
 * The command to send with a stream, which counts the commands of its pipeline.
 *
 * @returns the command, or what fills its place; an error when ioredis did not make this stream in the `exec` of a
 * guarded pipeline, or does not send on it now. Never throws.
 */
export function onStream(command: unknown, stream: object, guard: Guard): Sent | Error {
  const run = executing?.stream === stream ? executing : (Stream.runOf(stream) ?? begin(command, stream));
  // Long after `exec`, ioredis sends again what it has kept.
  if (run === undefined || (run !== executing && !isPlumbing())) return guard.notAdmitted(command);
  const sent = Sent.of(command);
  if (sent === undefined || sent.isAltered || !sent.isOf(run.pipeline)) {
    const filler = guard.stranger(command);
    Sent.join(filler, run.pipeline);
    return filler;
  }
  // Before anything of the pipeline is written, which ioredis does as a whole.
  if (run.pipeline._queue[0] === command) prepare(run.pipeline, guard);
  const error = guard.stillAllowed(sent, false);
  return error === undefined ? sent : Sent.deny(sent, error);
}

// ioredis makes the stream of a run right before it sends the first command of the queue with it.
function begin(command: unknown, stream: object): Run | undefined {
  if (executing === undefined || executing.stream !== undefined) return undefined;
  if (executing.pipeline._queue[0] !== command) return undefined;
  executing.stream = stream;
  Stream.mark(stream, executing);
  return executing;
}

// A constructor that returns an object makes it `this` of the class below, which puts its field there.
const Given = function (given: object) {
  return given;
} as unknown as new (given: object) => object;

// A field of ours on the stream itself, which nobody else can read or write. In a WeakMap the run would outlive
// its pipeline: V8 takes the values of an old map for alive until it collects the old generation.
class Stream extends Given {
  readonly #run: Run;

  constructor(stream: object, run: Run) {
    super(stream);
    this.#run = run;
  }

  static mark(stream: object, run: Run): object {
    return new Stream(stream, run);
  }

  static runOf(stream: object): Run | undefined {
    return #run in stream ? stream.#run : undefined;
  }
}

function prepare(pipeline: RawPipeline, guard: Guard): void {
  if (guard.registry === undefined && guard.placing === undefined) return;
  const all = entered(pipeline);
  // What is found for one of them holds for all, which are of one tenant.
  const own = all.find(({ mark }) => mark instanceof TenantNames);
  const isElsewhere =
    own !== undefined && guard.placing !== undefined && guard.stillAllowed(own) !== undefined;
  if (!isElsewhere) guard.registry?.enter(all);
}

function entered({ _queue }: RawPipeline): Sent[] {
  return _queue.flatMap((command) => Sent.of(command) ?? []);
}

function foreign(guard: Guard, command: Sent): Error {
  return guard.foreign(command) ?? twice();
}

function twice(): Error {
  return refusal('cache', 'pipeline', TWICE);
}

function asking(command: Command): Sent {
  const sent = ownCommand('asking', command);
  sent.ignore = true;
  return sent;
}

// Whether every MULTI of the queue has its EXEC; that of redis.multi() comes last, from ioredis.
function isBalanced(raw: RawPipeline, closesItself: boolean): boolean {
  let open = false;
  for (const command of raw._queue) {
    if (Sent.of(command)?.mark !== BRACKET) continue;
    if ((command.name === 'multi') === open) return false;
    open = !open;
  }
  return closesItself && raw._transactions > 0 ? open : !open;
}

function isMethod(name: unknown, { scripts }: Guard): name is string {
  if (typeof name !== 'string') return false;
  if (scripts.isMethod(name)) return true;
  return METHODS.has(name) || ruleOf(name) !== undefined || ruleOf(name.replace(/Buffer$/, '')) !== undefined;
}

function ignore(): void {
  // The refusal is the result of the command's place.
}

import { refusal, refuse, type Scope } from '@tenantkit/core';
import type { Callback, Command } from 'ioredis';
import { MARK, OWN, Refusal, TransactionMark, type MarkedCommand } from './command.ts';
import type { Guard } from './guard.ts';
import { answer } from './plumbing.ts';
import { ruleOf } from './rules.ts';

/** What ioredis keeps in a pipeline, and what it calls there. */
export interface RawPipeline {
  readonly _queue: readonly MarkedCommand[];
  /** How many MULTI are open. */
  readonly _transactions: number;
  readonly isPipeline: boolean;
  sendCommand(command: Command): unknown;
  exec(callback?: Callback): unknown;
  fillResult(value: unknown[], position: number): void;
  addBatch(commands: readonly unknown[]): unknown;
  call(...args: unknown[]): unknown;
}

const UNBALANCED = refuse(
  'MULTI and EXEC have to come in pairs, or the commands of other tenants fall into the transaction',
  'Use redis.multi(), or pipeline.multi() … exec() in the method form.',
);

const BRACKETS: ReadonlySet<unknown> = new Set(['multi', 'exec', 'asking']);

// Methods of a pipeline that the array form may name beside commands.
const METHODS: ReadonlySet<unknown> = new Set(['call', 'callBuffer', 'multi', 'exec']);

/**
 * Makes a pipeline of ioredis one of the tenant it is made in. Its commands are rewritten when they are queued,
 * in the caller's context: ioredis sends them much later, in the context of `exec` or of a reconnect.
 *
 * A command that is refused keeps its place, where a PING is sent that answers with the refusal; a transaction
 * with such a command is not sent at all.
 */
export function guardPipeline(pipeline: object, guard: Guard, owner: Scope): void {
  const raw = pipeline as RawPipeline;
  const sendCommand = raw.sendCommand.bind(raw);
  const exec = raw.exec.bind(raw);
  const fillResult = raw.fillResult.bind(raw);
  const ownMark = new TransactionMark(raw);
  // redis.multi() has queued its MULTI already.
  let open = raw._queue.length > 0;
  const closesItself = open;
  let refusedInside: Error | undefined;
  for (const command of raw._queue) command[MARK] = ownMark;

  const admit = (command: MarkedCommand): Error | undefined => {
    const name = command?.name;
    // In other letter cases they come from no method of ioredis: the table refuses them.
    if (!BRACKETS.has(name)) return guard.admit(command);
    const mark = command[MARK];
    if (mark === ownMark) return undefined;
    // ASKING is put in by ioredis itself, when it follows a redirection of the cluster.
    if (name === 'asking' && command.ignore === true) command[MARK] = OWN;
    if (mark !== undefined || name === 'asking') return guard.admit(command);
    const opens = name === 'multi';
    // ioredis counts the transactions of the method form before it comes here, and those of no other form.
    if (opens === open || raw._transactions !== (opens ? 1 : 0)) return refusal('cache', name, UNBALANCED);
    open = opens;
    command[MARK] = ownMark;
    return undefined;
  };

  raw.sendCommand = function (command: MarkedCommand) {
    const elsewhere = guard.elsewhere(owner, 'pipeline');
    if (elsewhere !== undefined) throw elsewhere;
    const error = admit(command);
    if (error === undefined) {
      if (hasCallback(command)) readErrors(command, guard);
      return sendCommand(command);
    }
    if (open) refusedInside ??= error;
    const refused = new Refusal(error, command);
    if (typeof command?.reject === 'function') command.promise.catch(ignore);
    return sendCommand(refused);
  };

  raw.exec = function (callback) {
    const sends = closesItself || raw._transactions === 0;
    const error =
      guard.elsewhere(owner, 'exec') ??
      (sends
        ? (refusedInside ?? (open && !closesItself ? refusal('cache', 'exec', UNBALANCED) : undefined))
        : undefined);
    if (error !== undefined) return answer(Promise.reject(error), callback);
    // Handed on as an argument, even `undefined` would become one of EXEC.
    try {
      return callback === undefined ? exec() : exec(callback);
    } catch (thrown) {
      return answer(Promise.reject(thrown as Error), callback);
    }
  };

  raw.fillResult = function (value, position) {
    const command = raw._queue[position];
    const [error, reply] = value;
    guard.readable(error, command);
    if (Array.isArray(reply) && command?.name === 'exec') {
      const first = position - reply.length;
      for (const [index, item] of reply.entries()) guard.readable(item, raw._queue[first + index]);
    }
    fillResult(value, position);
  };

  raw.addBatch = function (commands) {
    for (const [name, ...args] of commands as unknown[][]) {
      // ioredis calls whatever method the array names, `sendCommand` and `__defineSetter__` among them.
      const method: unknown = isMethod(name) ? Reflect.get(raw, name) : undefined;
      if (typeof method === 'function') method.apply(raw, args);
      else raw.call(typeof name === 'string' ? name : 'addBatch', ...args);
    }
    return raw;
  };
}

/** Queues the commands of the array form. */
export function addCommands(pipeline: object, commands: readonly unknown[]): void {
  (pipeline as RawPipeline).addBatch(commands);
}

function isMethod(name: unknown): name is string {
  if (typeof name !== 'string') return false;
  return METHODS.has(name) || ruleOf(name) !== undefined || ruleOf(name.replace(/Buffer$/, '')) !== undefined;
}

function hasCallback(command: MarkedCommand): boolean {
  return typeof (command as unknown as { callback?: unknown }).callback === 'function';
}

// A pipeline that a lost connection cuts in two is rejected past the place where error replies are made logical.
function readErrors(command: MarkedCommand, guard: Guard): void {
  const { reject } = command;
  command.reject = (error) => {
    reject(guard.readable(error, command));
  };
}

function ignore(): void {
  // The refusal is the result of the command's place.
}

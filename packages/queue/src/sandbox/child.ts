import { AsyncLocalStorage } from 'node:async_hooks';
import { setImmediate } from 'node:timers/promises';
import type { JobJsonSandbox } from 'bullmq';
import { refusal, refuse, runInScope } from '@tenantkit/core';
import { ordinaryError, plainError, typedError, type PlainError } from './errors.ts';
import {
  INIT,
  INIT_COMPLETED,
  INIT_FAILED,
  METHOD_NAMES,
  STOP,
  packArguments,
  type FromChild,
  type LifeMessage,
  type Method,
  type Reason,
  type Start,
  type ToChild,
} from './protocol.ts';

/** Sends to the worker; rejects what cannot be written. */
export type Send = (message: FromChild | LifeMessage) => Promise<void>;

type UserProcessor = (job: unknown, token: string | undefined, signal: AbortSignal) => unknown;

/** One job in this process. */
interface Run {
  readonly id: string;
  /** Calls on the job that the worker has not answered yet. */
  readonly calls: Set<Promise<unknown>>;
  readonly cancel: (reason: Reason) => void;
  readonly signal: AbortSignal;
  isOver: boolean;
}

const OVER = refuse(
  'the job was finished when it was called',
  'Await all that is done with a job before its processor returns.',
);

const LEFT_BEHIND =
  'The sandbox was ended by an error that this job did not cause; it is printed to the standard error of the worker.';

/** Which job the code that runs belongs to: of an error that nobody caught nothing else tells. */
const running = new AsyncLocalStorage<Run>();

/**
 * The far end of a sandboxed processor: loads the user's file, and runs it for one job after the other, each inside
 * the tenant that the worker has verified. It holds no key and no connection; what a processor asks of its job is asked
 * of the worker.
 */
export class SandboxChild {
  readonly #send: Send;
  #state: 'idle' | 'busy' | 'ending' = 'idle';
  #processor: UserProcessor | undefined;
  #run: Run | undefined;
  /** Resolves when the job that runs is told about. */
  #told: Promise<void> = Promise.resolve();
  #lastCall = 0;
  readonly #answers = new Map<number, PromiseWithResolvers<unknown>>();

  constructor(send: Send) {
    this.#send = send;
  }

  /** Takes a message of the worker. */
  async receive(message: ToChild): Promise<void> {
    switch (message.cmd) {
      case INIT:
        return this.#load(message.value);
      case STOP:
        return this.end();
      case 'start':
        return this.#start(message);
      case 'cancel':
        // One that comes late finds no job: the worker starts the next one only behind it.
        this.#run?.cancel(message.reason);
        return undefined;
      case 'answer':
        return this.#answered(message);
      default:
        // The processor's own messages, if it talks with the worker's process.
        return undefined;
    }
  }

  /** Ends the process when the job that runs is told about. */
  async end(): Promise<void> {
    this.#state = 'ending';
    try {
      await this.#told;
    } finally {
      process.exit(process.exitCode ?? 0);
    }
  }

  /**
   * Ends the process after an error that nobody caught. As in BullMQ the job that runs has failed; but with this error
   * only when it is its own: what the job before has left behind may be another tenant's.
   */
  async crash(thrown: unknown): Promise<void> {
    this.#state = 'ending';
    const run = this.#run;
    const isItsOwn = run !== undefined && running.getStore() === run;
    try {
      // oxlint-disable-next-line no-console -- nobody else is told
      if (!isItsOwn) console.error(thrown);
      if (run === undefined) return;
      const error = plainError(isItsOwn ? thrown : new Error(LEFT_BEHIND));
      await this.#send({ run: run.id, type: 'failed', error });
    } finally {
      process.exit();
    }
  }

  async #load(file: string): Promise<void> {
    try {
      this.#processor = functionOf(await import(file));
    } catch (error) {
      try {
        await this.#send({ cmd: INIT_FAILED, err: plainError(error).own });
      } finally {
        // The channel to the worker would keep a process alive that is good for nothing.
        process.exit(process.exitCode ?? 1);
      }
    }
    await this.#send({ cmd: INIT_COMPLETED });
  }

  async #start(start: Start): Promise<void> {
    const processor = this.#processor;
    if (this.#state !== 'idle' || processor === undefined) {
      const error = plainError(new Error('cannot start a not idling child process'));
      return this.#send({ run: start.run, type: 'failed', error });
    }
    this.#state = 'busy';
    await this.#send({ run: start.run, type: 'started' });
    const { tenant } = start;
    this.#told = runInScope({ tenant: Object.freeze(tenant), bypass: undefined }, () => {
      const run = newRun(start.run);
      this.#run = run;
      return running.run(run, () => this.#process(run, processor, start));
    });
    return this.#told;
  }

  async #process(run: Run, processor: UserProcessor, { job, token }: Start): Promise<void> {
    let told: { type: 'completed'; value: unknown } | { type: 'failed'; error: PlainError };
    try {
      const value = await processor(this.#jobOf(run, job), token, run.signal);
      await settled(run);
      told = { type: 'completed', value: value === undefined ? null : value };
    } catch (thrown) {
      await settled(run);
      told = { type: 'failed', error: plainError(thrown) };
    }
    // Before it is told: the next job may arrive before we hear that the message is written.
    run.isOver = true;
    this.#run = undefined;
    if (this.#state === 'busy') this.#state = 'idle';
    try {
      await this.#send({ run: run.id, ...told });
    } catch (error) {
      // A result that cannot be written.
      await this.#send({ run: run.id, type: 'failed', error: plainError(error) });
    }
  }

  /** The job as BullMQ shows it to a sandboxed processor. */
  #jobOf(run: Run, json: JobJsonSandbox): object {
    const job: Record<string, unknown> = {
      ...json,
      data: parsed(json.data),
      returnValue: parsed(json.returnvalue),
    };
    const call = (method: Method, args: readonly unknown[]): Promise<unknown> =>
      this.#call(run, method, args);
    for (const method of METHOD_NAMES) job[method] = (...args: unknown[]) => call(method, args);
    job['updateProgress'] = (progress: unknown) => {
      job['progress'] = progress;
      return call('updateProgress', [progress]);
    };
    job['updateData'] = async (data: unknown) => {
      await call('updateData', [data]);
      job['data'] = data;
    };
    return job;
  }

  #call(run: Run, method: Method, args: readonly unknown[]): Promise<unknown> {
    const answer = this.#ask(run, method, args);
    run.calls.add(answer);
    // Another one than that which is waited for at the end: if nobody listens to it, it is an error that nobody caught.
    return answer.then((value) => value);
  }

  async #ask(run: Run, method: Method, args: readonly unknown[]): Promise<unknown> {
    if (run.isOver) throw refusal('queue', method, OVER);
    this.#lastCall += 1;
    const call = this.#lastCall;
    const answer = Promise.withResolvers<unknown>();
    this.#answers.set(call, answer);
    try {
      await this.#send({ run: run.id, type: 'call', call, method, ...packArguments(args) });
      return await answer.promise;
    } finally {
      this.#answers.delete(call);
    }
  }

  #answered({ call, value, error }: Extract<ToChild, { cmd: 'answer' }>): void {
    const answer = this.#answers.get(call);
    if (error === undefined) answer?.resolve(value);
    else answer?.reject(typedError(error));
  }
}

function newRun(id: string): Run {
  const controller = new AbortController();
  const inside = AsyncLocalStorage.snapshot();
  return {
    id,
    calls: new Set(),
    signal: controller.signal,
    // The listeners of a signal run where it is fired, and the messages of the worker arrive in no tenant.
    cancel: ({ value, error }) =>
      inside(() => controller.abort(error === undefined ? value : ordinaryError(error))),
    isOver: false,
  };
}

/**
 * Waits for the calls that the processor did not await: they were sent before the job ends. One that failed, and that
 * nobody listens to, is an error that nobody caught, as it is without a sandbox; Node says so only after a turn of its
 * loop, and by then it must still be this job's.
 */
async function settled(run: Run): Promise<void> {
  const results = await Promise.allSettled(run.calls);
  if (results.some(({ status }) => status === 'rejected')) await setImmediate();
}

/** As BullMQ finds it: `export default`, `module.exports`, and `exports.default` of what was compiled to CommonJS. */
function functionOf(module: { readonly default?: unknown }): UserProcessor {
  let found = module.default;
  const inner: unknown =
    found === undefined || found === null ? undefined : Reflect.get(Object(found) as object, 'default');
  if (inner !== undefined) found = inner;
  if (typeof found !== 'function') throw new Error('No function is exported in processor file');
  return found as UserProcessor;
}

function parsed(text: string | undefined): unknown {
  return JSON.parse(text === undefined || text === '' ? '{}' : text);
}

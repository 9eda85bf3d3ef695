import { AsyncResource } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import { existsSync } from 'node:fs';
import { extname, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ChildPool, type WorkerOptions } from 'bullmq';
import { ConfigError, requireTenant } from '@tenantkit/core';
import type { Job } from '../job.ts';
import { asJson, ordinaryError, plainError } from './errors.ts';
import { isMethod, unpackArguments, type FromChild, type Reason, type ToChild } from './protocol.ts';

/** What BullMQ keeps of a sandbox. */
export interface Sandbox {
  readonly pool: ChildPool;
  /** Takes the signal as its third parameter, so that a job can be cancelled. */
  readonly process: (job: Job, token?: string, signal?: AbortSignal) => Promise<unknown>;
}

type Options = Pick<WorkerOptions, 'useWorkerThreads' | 'workerForkOptions' | 'workerThreadsOptions'>;
type Child = Awaited<ReturnType<ChildPool['retain']>>;

/** Endings that BullMQ takes as they are; it puts `.js` behind everything else. */
const ENDINGS: ReadonlySet<string> = new Set(['.js', '.ts', '.flow', '.cjs', '.mjs']);

/**
 * Runs the processor in `file` in processes or threads of its own. The pool and its children are BullMQ's; what they
 * run, and what is made of their messages, is ours: a child that BullMQ starts knows no tenant, and a worker that hears
 * of one is in whichever tenant the child was made for.
 *
 * @param file - a path, or the text of a file URL, as BullMQ hands it over: it has looked whether it exists
 * @throws {@link ConfigError} when our own part of the child cannot be found
 */
export function sandboxOf(file: string, options: Options): Sandbox {
  const mainFile = childFile();
  const url = urlOf(file);
  const pool = new ChildPool({ mainFile, ...copyOf(options) });
  /** Children that have had a job: what it has left running may have ended them, unseen as yet. */
  const used = new WeakSet<Child>();
  return {
    pool,
    async process(job, token, signal) {
      for (;;) {
        const child = await pool.retain(url);
        // Without a listener an `error` between two jobs would end the process of the worker; `exit` follows it.
        child.removeListener('error', ignore).on('error', ignore);
        const run = new SandboxRun(child, job);
        try {
          return await run.process(token, signal);
        } catch (error) {
          // The processor has not seen the job, which must not fail for what another one has done.
          if (run.hasStarted || !used.has(child)) throw error;
        } finally {
          used.add(child);
          // One that has told and exited in one turn of the loop: nothing would ever be heard of the next job there.
          if (run.isEnded && !hasExited(child)) pool.release(child);
          // Waited for: a job that is recorded as failed, and is run again, must not still be running.
          else await pool.kill(child);
        }
      }
    },
  };
}

function hasExited({ exitCode, signalCode }: Child): boolean {
  return exitCode !== null || signalCode !== null;
}

/** The URL by which a child loads a file: a path may hold `?`, `#`, `%` and, on Windows, a drive. */
export function urlOf(file: string): string {
  if (file.startsWith('file:')) return file;
  return pathToFileURL(resolve(ENDINGS.has(extname(file)) ? file : `${file}.js`)).href;
}

/** One job in a child. */
class SandboxRun {
  /** Whether the child has begun the job. */
  hasStarted = false;
  /** Whether it has told how the job ended, and so takes another; one that exits instead is found out by that one. */
  isEnded = false;
  readonly #child: Child;
  readonly #job: Job;
  /** In all that the child says about this job: what an earlier job has left running there speaks of another. */
  readonly #id = randomUUID();

  constructor(child: Child, job: Job) {
    this.#child = child;
    this.#job = job;
  }

  async process(token: string | undefined, signal: AbortSignal | undefined): Promise<unknown> {
    const tenant = requireTenant({ surface: 'queue', operation: 'process' });
    const end = Promise.withResolvers<unknown>();
    // Bound: messages arrive in the context in which the child was made, and not in this job's.
    const onMessage = AsyncResource.bind((message: unknown) => this.#receive(message, end));
    const onExit = (code: unknown, by: unknown): void =>
      end.reject(new Error(`Unexpected exit code: ${String(code)} signal: ${String(by)}`));
    const onAbort = (): void => this.#cancel(signal?.reason);
    this.#child.on('message', onMessage).on('exit', onExit).on('error', end.reject);
    try {
      // Not awaited: a child that exits meanwhile would reject what nobody listens to yet.
      this.#send({ cmd: 'start', run: this.#id, tenant, job: this.#job.asJSONSandbox(), token }).catch(
        end.reject,
      );
      if (signal?.aborted === true) onAbort();
      signal?.addEventListener('abort', onAbort, { once: true });
      return await end.promise;
    } finally {
      signal?.removeEventListener('abort', onAbort);
      this.#child.off('message', onMessage).off('exit', onExit).off('error', end.reject);
    }
  }

  #receive(message: unknown, { resolve: complete, reject: fail }: PromiseWithResolvers<unknown>): void {
    if (!isOf(this.#id, message)) return;
    try {
      switch (message.type) {
        case 'started':
          this.hasStarted = true;
          return;
        case 'call':
          void this.#answer(message);
          return;
        case 'completed':
          complete(message.value);
          this.isEnded = this.hasStarted;
          return;
        case 'failed':
          fail(ordinaryError(message.error));
          this.isEnded = this.hasStarted;
      }
    } catch (error) {
      // The code of a child can send anything: thrown here, it would end the process of all tenants.
      fail(error);
    }
  }

  /** What is refused here is refused there, with the same error. */
  async #answer(message: Extract<FromChild, { type: 'call' }>): Promise<void> {
    const { call } = message;
    try {
      const value = await this.#callOf(message);
      await this.#send({ cmd: 'answer', call, value });
    } catch (error) {
      this.#tell({ cmd: 'answer', call, error: plainError(error) });
    }
  }

  async #callOf(message: Extract<FromChild, { type: 'call' }>): Promise<unknown> {
    const { method } = message;
    if (!isMethod(method)) throw new TypeError(`${method} is no method of a sandboxed job`);
    const member: unknown = Reflect.get(this.#job, method);
    return Reflect.apply(member as (...args: unknown[]) => unknown, this.#job, unpackArguments(message));
  }

  #cancel(given: unknown): void {
    this.#tell({ cmd: 'cancel', reason: reasonOf(given) });
  }

  #send(message: ToChild): Promise<void> {
    return this.#child.send(message);
  }

  #tell(message: ToChild): void {
    // A child that does not hear it has exited, and its exit fails the job.
    this.#send(message).catch(ignore);
  }
}

/** A DOMException is what `abort()` without a reason gives: the child makes its own. */
function reasonOf(given: unknown): Reason {
  if (given instanceof DOMException) return {};
  return given instanceof Error ? { error: plainError(given) } : { value: asJson(() => given) };
}

function isOf(run: string, message: unknown): message is FromChild {
  return typeof message === 'object' && message !== null && Reflect.get(message, 'run') === run;
}

// The pool keeps them, and the caller may change the object that it has given.
function copyOf({ useWorkerThreads, workerForkOptions, workerThreadsOptions }: Options): Options {
  return {
    ...(useWorkerThreads === undefined ? {} : { useWorkerThreads }),
    ...(workerForkOptions === undefined ? {} : { workerForkOptions: { ...workerForkOptions } }),
    ...(workerThreadsOptions === undefined ? {} : { workerThreadsOptions: { ...workerThreadsOptions } }),
  };
}

function ignore(): void {}

// Beside us, and still TypeScript when we are. Looked for when it is needed: in a bundle of CommonJS there is no URL of a
// module, and a service that has no processor in a file must not die of it.
function childFile(): string {
  const here = import.meta.url as string | undefined;
  const file = here && fileURLToPath(new URL(`./main${extname(here)}`, here));
  if (file === undefined || !existsSync(file)) throw bundled();
  return file;
}

function bundled(): ConfigError {
  return new ConfigError({
    surface: 'queue',
    operation: 'Worker',
    problem: 'the file that a sandboxed processor is started with is missing',
    hint: 'Keep @tenantkit/queue external when the service is bundled.',
  });
}

import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { failure } from './errors.ts';
import type { Ended, Running } from './supervisor.ts';

/** How often a server is asked whether it is up. */
const EVERY_MS = 40;
const TAIL_LINES = 15;

/** How long the news of a process's end may take to get here. */
const LAST_WORDS_MS = 2_000;

/** A port was free when it was picked and taken when the server wanted it. */
export class PortTakenError extends Error {}

/** What a process writes when a port it wants is in use. */
const PORT_TAKEN =
  /address already in use|EADDRINUSE|could not bind|unable to bind|failed to bind|BindException/i;

/** Processes that a wait depends on, by the name that an error gives them. */
export type Processes = ReadonlyMap<string, Running>;

/** How long a wait may take, and what else ends it. */
export interface Limits {
  /** Milliseconds. */
  readonly within: number;
  readonly signal?: AbortSignal;
}

/**
 * Does work that needs processes to be there. Gives up when one of them ends, when the time is over, or when the
 * signal fires, whatever the work is doing then: a request to a server that has gone may never be answered, since
 * whoever has its port now may keep the connection open without a word.
 *
 * @param work - gets a signal that fires when its result is no longer wanted
 * @param options - `late`: how the error begins when the time is over; `logs`: whose last lines it ends with
 * @throws {@link PortTakenError} when a process ended because a port was in use
 */
export async function whileUp<T>(
  processes: Processes,
  work: (signal: AbortSignal) => Promise<T>,
  { within, signal, late, logs = processes }: Limits & { readonly late: string; readonly logs?: Processes },
): Promise<T> {
  signal?.throwIfAborted();
  const over = new AbortController();
  const cut = Promise.withResolvers<never>();
  const onAbort = (): void => cut.reject(signal?.reason);
  signal?.addEventListener('abort', onAbort, { once: true });
  const timer = setTimeout(
    () => cut.reject(failure(`${late} within ${within / 1000} s`, lastLines(logs), Infinity)),
    within,
  );
  const first = [...[...processes].map(([name, running]) => endOf(name, running)), cut.promise];
  try {
    const result = await Promise.race([...first, work(over.signal)]);
    // Of two that come at once the end counts: what answered may be somebody else.
    for (const [name, running] of processes) {
      const ended = running.hasEnded();
      if (ended !== undefined) throw gaveUp(name, running.output(), ended);
    }
    return result;
  } catch (error) {
    // A connection breaks a moment before the end of the process behind it is known, and says less.
    await Promise.race([...first, delay(LAST_WORDS_MS)]);
    throw error;
  } finally {
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    over.abort();
  }
}

/**
 * Waits until `isUp` holds, under the conditions of {@link whileUp}.
 *
 * @param running - the process, or all that have to be there
 * @param isUp - what is waited for; an answer on a port is no proof, another program may have taken it
 * @throws {@link PortTakenError} when a process ended because a port was in use
 */
export function untilUp(
  running: Running | Processes,
  { isUp, within, signal }: { readonly isUp: (signal: AbortSignal) => boolean | Promise<boolean> } & Limits,
): Promise<void> {
  const processes = 'ended' in running ? new Map([['it', running]]) : running;
  const ask = async (over: AbortSignal): Promise<void> => {
    while (!(await isUp(over))) await delay(EVERY_MS, undefined, { signal: over });
  };
  return whileUp(processes, ask, {
    within,
    late: 'it was not ready',
    ...(signal === undefined ? {} : { signal }),
  });
}

/**
 * Waits for a program that works with daemons and ends by itself, under the conditions of {@link whileUp}. It is
 * killed when it is not waited for any longer.
 *
 * @throws Error with the end of its output unless it ends with 0
 */
export async function untilDone(
  [name, program]: readonly [string, Running],
  { daemons, ...limits }: { readonly daemons: Processes } & Limits,
): Promise<void> {
  const end = async (): Promise<void> => {
    const ended = await program.ended;
    if (ended.code !== 0) throw gaveUp(name, program.output(), ended);
  };
  const logs = new Map([...daemons, [name, program]]);
  try {
    await whileUp(daemons, end, { ...limits, late: `${name} was not done`, logs });
  } finally {
    if (program.hasEnded() === undefined) program.kill('SIGKILL');
  }
}

/** Runs `attempt` again when a port that was free a moment ago is taken. */
export async function retryOnTakenPort<T>(attempt: (number: number) => Promise<T>, times = 5): Promise<T> {
  for (let number = 1; ; number += 1) {
    try {
      return await attempt(number);
    } catch (error) {
      if (!(error instanceof PortTakenError) || number >= times) throw error;
    }
  }
}

async function endOf(name: string, running: Running): Promise<never> {
  const ended = await running.ended;
  throw gaveUp(name, running.output(), ended);
}

/** The error of a process that ended although it should go on. */
function gaveUp(name: string, output: string, { code, signal }: Ended): Error {
  const how = signal === null ? `with code ${code}` : `by ${signal}`;
  const error = failure(`${name} ended ${how}`, written(output), TAIL_LINES);
  // radosgw says it with the number of the error alone.
  return PORT_TAKEN.test(output) || code === constants.errno.EADDRINUSE
    ? new PortTakenError(error.message)
    : error;
}

/** The end of every log, as many lines in all as one log may have alone. */
function lastLines(logs: Processes): string {
  const lines = Math.ceil(TAIL_LINES / Math.max(logs.size, 1));
  return [...logs]
    .map(([name, running]) => {
      const end = written(running.output()).split('\n').slice(-lines).join('\n');
      return logs.size === 1 ? end : `${name}:\n${end}`;
    })
    .join('\n');
}

/** Without empty lines: Ceph writes one after every other. */
function written(output: string): string {
  return output.replaceAll(/\n\s*\n/g, '\n').trimEnd();
}

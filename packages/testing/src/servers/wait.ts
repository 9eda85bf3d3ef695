import { constants } from 'node:os';
import { setTimeout as delay } from 'node:timers/promises';
import { failure } from './errors.ts';
import type { Ended, Running } from './supervisor.ts';

/** How often a server is asked whether it is up. */
const EVERY_MS = 40;
const TAIL_LINES = 15;

/** A port was free when it was picked and taken when the server wanted it. */
export class PortTakenError extends Error {}

/** What a process writes when a port it wants is in use. */
const PORT_TAKEN =
  /address already in use|EADDRINUSE|could not bind|unable to bind|failed to bind|BindException/i;

/**
 * Waits until `isUp` holds. Gives up when the process ends, when the time is over, or when the signal fires.
 *
 * @param running - the process
 * @param isUp - what is waited for; an answer on a port is no proof, another program may have taken it
 * @throws {@link PortTakenError} when the process ended because a port was in use
 */
export async function untilUp(
  running: Running,
  { isUp, within, signal }: { isUp: () => boolean | Promise<boolean>; within: number; signal: AbortSignal },
): Promise<void> {
  const deadline = performance.now() + within;
  for (;;) {
    signal.throwIfAborted();
    const ended = running.hasEnded();
    if (ended !== undefined) throw gaveUp(running.output(), ended);
    if (await isUp()) return;
    if (performance.now() > deadline) {
      throw failure(`it was not ready within ${within / 1000} s`, running.output(), TAIL_LINES);
    }
    await delay(EVERY_MS, undefined, { signal });
  }
}

/** Runs `attempt` again when a port that was free a moment ago is taken. */
export async function retryOnTakenPort<T>(attempt: () => Promise<T>, times = 5): Promise<T> {
  for (let left = times; ; left -= 1) {
    try {
      return await attempt();
    } catch (error) {
      if (!(error instanceof PortTakenError) || left <= 1) throw error;
    }
  }
}

/** The error of a process that ended although it should go on. */
export function gaveUp(output: string, { code, signal }: Ended): Error {
  const how = signal === null ? `with code ${code}` : `by ${signal}`;
  const error = failure(`it ended ${how}`, output, TAIL_LINES);
  // radosgw says it with the number of the error alone.
  return PORT_TAKEN.test(output) || code === constants.errno.EADDRINUSE
    ? new PortTakenError(error.message)
    : error;
}

import type { Command } from 'ioredis';
import type { Guard } from './guard.ts';
import { Hidden } from './hidden.ts';
import { TenantNames } from './names.ts';
import { isPlumbing } from './plumbing.ts';
import { deny } from './rare.ts';
import { Sent } from './sent.ts';

/** What ioredis keeps in a pipeline, and what it calls there. */
export interface RawPipeline {
  readonly redis: object;
  readonly isCluster: boolean;
  readonly options: object;
  readonly promise: Promise<unknown>;
  readonly replyPending: number;
  readonly preferKey?: string;
  readonly _queue: readonly Command[];
  readonly _result: readonly unknown[];
  /** How many MULTI are open. */
  readonly _transactions: number;
  multi(...args: unknown[]): unknown;
  exec(...args: unknown[]): unknown;
  execBuffer(...args: unknown[]): unknown;
  reject(error: Error): void;
}

/** One call of `exec`: ioredis makes a stream for it, and sends every command of the queue with that. */
interface Run {
  readonly pipeline: RawPipeline;
  stream: object | undefined;
}

// The `exec` that runs now, and the streams that ioredis has made in one. No caller can make such a stream: what
// is sent with another is queued for a reply and never written, so it gets the reply of whoever comes next.
let executing: Run | undefined;

/** Runs `exec` of ioredis, which may make a stream there. */
export function executed<T>(pipeline: RawPipeline, exec: () => T): T {
  const outer = executing;
  executing = { pipeline, stream: undefined };
  try {
    return exec();
  } finally {
    executing = outer;
  }
}

/** Whether ioredis writes a pipeline right now: nothing of a caller runs meanwhile. */
export function isExecuting(): boolean {
  return executing !== undefined;
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
  if (sent === undefined || sent.isAltered) return guard.stranger(command);
  // Before anything of the pipeline is written, which ioredis does as a whole.
  if (run.pipeline._queue[0] === command) prepare(run.pipeline, guard);
  const error = guard.stillAllowed(sent, false);
  return error === undefined ? sent : deny(sent, error);
}

// ioredis makes the stream of a run right before it sends the first command of the queue with it.
function begin(command: unknown, stream: object): Run | undefined {
  if (executing === undefined || executing.stream !== undefined) return undefined;
  if (executing.pipeline._queue[0] !== command) return undefined;
  executing.stream = stream;
  Stream.mark(stream, executing);
  return executing;
}

class Stream extends Hidden {
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

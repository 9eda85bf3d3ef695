import { Pipeline, type Command } from 'ioredis';
import { Sent } from '../src/sent.ts';

const inherited = Pipeline.prototype as unknown as { sendCommand(command: Command): unknown };

/**
 * What is queued on pipelines while `run` runs, as ioredis will send it. Pipelines show descriptions; callers find
 * the objects themselves in `redis.commandQueue` and `redis.offlineQueue`, so that what they do with them matters.
 *
 * @throws TypeError when nothing was queued
 */
export function queuedIn(run: () => unknown): [Command, ...Command[]] {
  // oxlint-disable-next-line typescript/unbound-method -- called on the pipeline
  const { sendCommand } = inherited;
  const found: Command[] = [];
  inherited.sendCommand = function (command) {
    // redis.multi() queues the MULTI of ioredis, before it is adopted.
    if (Sent.of(command) !== undefined) found.push(command);
    return sendCommand.call(this, command);
  };
  try {
    run();
  } finally {
    inherited.sendCommand = sendCommand;
  }
  const [first, ...more] = found;
  if (first === undefined) throw new TypeError('nothing is queued');
  return [first, ...more];
}

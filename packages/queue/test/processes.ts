import { spawn, type ChildProcessByStdio } from 'node:child_process';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import type { WorkerOptions } from '@tenantkit/queue';
import { KEY } from './support.ts';

/** On the sources, as the tests are. */
export const execArgv = ['--conditions=@tenantkit/source'];

/** A file for a sandbox, among those in `processors`. */
export const processorFile = (name: string): string =>
  fileURLToPath(new URL(`processors/${name}`, import.meta.url));

/** Another version of Node than the one that the tests run on: the oldest line that is promised. */
export const NODE_22 = createRequire(import.meta.url).resolve('node-22/bin/node');

/** A Worker in a process of its own. */
export interface WorkerProcess extends AsyncDisposable {
  /** What became of the next job. */
  next(): Promise<{ readonly result?: unknown; readonly error?: string }>;
  kill(signal: NodeJS.Signals): Promise<void>;
}

/** @param node - the Node that it runs on; by default ours */
export function workerProcess(
  url: string,
  {
    node = process.execPath,
    ...given
  }: { node?: string; file?: string; options?: Partial<WorkerOptions> } = {},
): WorkerProcess {
  const main = fileURLToPath(new URL('processes/worker.ts', import.meta.url));
  const argument = JSON.stringify({ url, key: KEY, ...given });
  const child: ChildProcessByStdio<null, Readable, null> = spawn(node, [...execArgv, main, argument], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const exit = once(child, 'exit');
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const kill = async (signal: NodeJS.Signals): Promise<void> => {
    child.kill(signal);
    await exit;
  };
  return {
    async next() {
      const { value, done } = await lines.next();
      if (done === true) throw new Error('the process of the worker has ended');
      return JSON.parse(value) as { result?: unknown; error?: string };
    },
    kill,
    [Symbol.asyncDispose]: () => kill('SIGTERM'),
  };
}

/** The same, a number of times. */
export function times<T>(count: number, value: T): T[] {
  return Array.from({ length: count }, () => value);
}

import { EXIT, exitCodeOf } from './exit.ts';
import { Output } from './output.ts';
import { runCommand } from './program.ts';

/** How long connections that a configuration has left open may keep the process, in milliseconds. */
const LINGER = 2_000;

const stopping = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.on(signal, () => {
    // Asked a second time: whatever does not listen to the first is left where it is; the ledger holds the rest.
    if (stopping.signal.aborted) process.exit(EXIT.interrupted);
    process.stderr.write('\nstopping; once more to stop at once\n');
    stopping.abort(new Error(signal));
  });
}
// Whoever reads may go away, as `head` does.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
});

// A client that emits an error nobody listens to must not show a stack with connection strings in it.
process.on('uncaughtException', (error) => {
  new Output({ out: process.stdout, err: process.stderr }, process.argv.includes('--json')).error(error);
  process.exit(exitCodeOf(error));
});

process.exitCode = await runCommand(process.argv.slice(2), {
  out: process.stdout,
  err: process.stderr,
  signal: stopping.signal,
  folder: process.cwd(),
});
setTimeout(() => {
  process.stderr.write('The configuration leaves connections open: let it export `close`.\n');
  process.exit();
}, LINGER).unref();

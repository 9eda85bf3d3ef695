import { clearLine, cursorTo, moveCursor } from 'node:readline';
import type { WriteStream } from 'node:tty';
import pc from 'picocolors';
import type { ProviderName, ServerName } from './definition.ts';

/** What is told about the start of a server. */
export interface ServerProgress {
  readonly server: ServerName;
  readonly phase: 'starting' | 'ready' | 'failed';
  readonly provider: ProviderName;
  /** What is being done, the URL without credentials, or what went wrong. */
  readonly message: string;
  /** Milliseconds since `startServers` was called. */
  readonly elapsed: number;
}

/** Shows {@link ServerProgress}. */
export interface ProgressView {
  show(progress: ServerProgress): void;
  /** A line that belongs to no server. */
  warn(message: string): void;
  /** No more lines will change. */
  close(): void;
}

const REDRAW_MS = 200;
const REPEAT_MS = 10_000;

/** Steps that are worth a line in a log at once; the others only when they take long. */
const AT_ONCE = /^(download|install|build)ing /;

/** What a line takes up before its message. */
const TAKEN_COLUMNS = 40;

const MARKS = {
  starting: pc.yellow('…'),
  ready: pc.green('✓'),
  failed: pc.red('✗'),
} as const satisfies Record<ServerProgress['phase'], string>;

/**
 * One line per server. On a terminal the lines change in place; in a log there is one line when a server is up,
 * and one for each step that can take long.
 */
export function progressView(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv): ProgressView {
  return stream.isTTY && env['CI'] === undefined ? inPlace(stream) : lineByLine(stream);
}

function lineByLine(stream: NodeJS.WritableStream): ProgressView {
  const steps = new Map<ServerName, { readonly progress: ServerProgress; readonly at: number }>();
  const write = (progress: ServerProgress): void => void stream.write(`${lineOf(progress)}\n`);
  // A step that takes long (a download, an image that is pulled) is told again and again: a log in which nothing
  // moves looks like a run that hangs.
  const timer = setInterval(() => {
    for (const { progress, at } of steps.values()) {
      if (progress.phase === 'starting') write(later(progress, at));
    }
  }, REPEAT_MS).unref();
  return {
    show(progress) {
      steps.set(progress.server, { progress, at: performance.now() });
      if (progress.phase !== 'starting' || AT_ONCE.test(progress.message)) write(progress);
    },
    warn: (message) => void stream.write(`${message}\n`),
    close: () => clearInterval(timer),
  };
}

function inPlace(stream: WriteStream): ProgressView {
  const steps = new Map<ServerName, { readonly progress: ServerProgress; readonly at: number }>();
  let drawn = 0;
  const draw = (): void => {
    moveCursor(stream, 0, -drawn);
    for (const { progress, at } of steps.values()) {
      cursorTo(stream, 0);
      clearLine(stream, 0);
      stream.write(
        `${lineOf(progress.phase === 'starting' ? later(progress, at) : progress, stream.columns)}\n`,
      );
    }
    drawn = steps.size;
  };
  const timer = setInterval(draw, REDRAW_MS).unref();
  return {
    show(progress) {
      steps.set(progress.server, { progress, at: performance.now() });
      draw();
    },
    warn(message) {
      // Above the lines that change.
      moveCursor(stream, 0, -drawn);
      cursorTo(stream, 0);
      clearLine(stream, 0);
      stream.write(`${message}\n`);
      drawn = 0;
      draw();
    },
    close() {
      clearInterval(timer);
      draw();
    },
  };
}

/** A step as it stands now. */
function later(progress: ServerProgress, since: number): ServerProgress {
  return { ...progress, elapsed: progress.elapsed + performance.now() - since };
}

/** @param width - columns of the terminal; a line that wraps could not be drawn over */
function lineOf({ server, phase, provider, message, elapsed }: ServerProgress, width = 0): string {
  const seconds = `${(elapsed / 1000).toFixed(1)} s`.padStart(8);
  const room = width > TAKEN_COLUMNS ? width - TAKEN_COLUMNS : message.length;
  const shown = message.slice(0, room);
  return `${MARKS[phase]} ${server.padEnd(10)} ${pc.dim(provider.padEnd(14))} ${pc.dim(seconds)}  ${shown}`;
}

import { fork, type ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Engine } from './engine.ts';
import { failure } from './errors.ts';
import type { Command, FromSupervisor, ToSupervisor } from './messages.ts';
import { clear } from './sweep.ts';

/** How a process ended. */
export interface Ended {
  readonly code: number | null;
  readonly signal: string | null;
}

/** A process that the supervisor runs for us. */
export interface Running {
  readonly pid: number;
  readonly ended: Promise<Ended>;
  hasEnded(): Ended | undefined;
  /** What it has written so far. */
  output(): string;
  kill(signal: 'SIGTERM' | 'SIGKILL'): void;
  /** Makes it stand still, or go on. Resolves when it was told. */
  halt(halted: boolean): Promise<void>;
}

/** Our end of the process that owns the servers; see supervisor-main.ts. */
export interface Supervisor {
  /** The temporary folder that everything lives in. */
  readonly dir: string;
  /** The supervisor's own process. */
  readonly pid: number;
  /** Starts a process. */
  spawn(command: Omit<Command, 'logFile'>, name: string): Promise<Running>;
  /** Runs a process to its end. @throws Error with the end of its output unless it ends with 0 */
  run(command: Omit<Command, 'logFile'>, name: string): Promise<string>;
  /** From now on containers with this label are removed at the end, also ones that are created later. */
  ownContainers(engine: Engine, label: string): Promise<void>;
  /** The program may end without {@link Supervisor.stop}: the supervisor will notice. */
  letGo(): void;
  /** Stops everything and removes the folder. @throws Error when something could not be stopped */
  stop(): Promise<void>;
}

/** How much of a log is worth showing in an error. */
const TAIL_LINES = 15;

/** Starts a supervisor. It ends, with all it has started, when {@link Supervisor.stop} is called or we are gone. */
export async function startSupervisor(onWarning: (message: string) => void): Promise<Supervisor> {
  // Beside us, and still TypeScript when we are.
  const file = fileURLToPath(new URL(`./supervisor-main${extname(import.meta.url)}`, import.meta.url));
  const child = fork(file, [], {
    detached: true,
    execArgv: [],
    cwd: '/',
    stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
  });
  const { dir, pid } = await ready(child);
  const commands = new Map<number, { resolve: (pid: number) => void; reject: (error: Error) => void }>();
  const processes = new Map<number, Process>();
  let lastId = 0;
  let stopping: Promise<void> | undefined;
  let problems: readonly string[] = [];

  const gone = new Promise<void>((resolve) => {
    child.once('exit', () => {
      for (const { reject } of commands.values())
        reject(new Error('the supervisor of the servers has ended'));
      for (const { end } of processes.values()) end({ code: null, signal: 'SIGKILL' });
      // Somebody killed it: what it ran is still there, and its records say what that is.
      if (stopping === undefined) void clear(dir).catch((error: Error) => onWarning(error.message));
      // Its last words may still be on their way.
      if (child.connected) child.once('disconnect', () => resolve());
      else resolve();
    });
  });
  child.on('message', (message: FromSupervisor) => {
    if (message.type === 'spawned') {
      // Made here and not in spawn(): the end of a short process may be the very next message.
      processes.set(message.pid, watched());
      commands.get(message.id)?.resolve(message.pid);
    } else if (message.type === 'failed') commands.get(message.id)?.reject(new Error(message.message));
    else if (message.type === 'noted') commands.get(message.id)?.resolve(0);
    else if (message.type === 'exited') processes.get(message.pid)?.end(message);
    else if (message.type === 'warning') onWarning(message.message);
    else if (message.type === 'stopped') problems = message.problems;
  });
  const send = (message: ToSupervisor): void => {
    if (child.connected) child.send(message);
  };
  const ask = async (message: (id: number) => ToSupervisor): Promise<number> => {
    if (!child.connected) throw new Error('the supervisor of the servers has ended');
    const id = (lastId += 1);
    const answer = new Promise<number>((resolve, reject) => commands.set(id, { resolve, reject }));
    send(message(id));
    return answer.finally(() => commands.delete(id));
  };

  const supervisor: Supervisor = {
    dir,
    pid,
    async spawn(command, name) {
      const logFile = join(dir, `${name}.log`);
      const pid = await ask((id) => ({ type: 'spawn', id, command: { ...command, logFile } }));
      const watch = processes.get(pid) ?? watched();
      return {
        pid,
        ended: watch.ended,
        hasEnded: watch.hasEnded,
        output: () => readFileSync(logFile, 'utf8'),
        kill: (signal) => send({ type: 'kill', pid, signal }),
        async halt(halted) {
          await ask((id) => ({ type: 'halt', id, pid, halted }));
        },
      };
    },
    async run(command, name) {
      const running = await supervisor.spawn(command, name);
      const { code, signal } = await running.ended;
      const output = running.output();
      if (code !== 0) {
        const how = signal === null ? `with code ${code}` : `by ${signal}`;
        throw failure(`${name} ended ${how}`, output, TAIL_LINES);
      }
      return output;
    },
    async ownContainers(engine, label) {
      await ask((id) => ({ type: 'containers', id, engine, label }));
    },
    letGo() {
      child.unref();
      child.channel?.unref();
    },
    stop() {
      stopping ??= (async () => {
        child.ref();
        child.channel?.ref();
        send({ type: 'stop' });
        await gone;
        if (problems.length > 0) throw new Error(`Not everything was stopped: ${problems.join('; ')}`);
      })();
      return stopping;
    },
  };
  return supervisor;
}

interface Process extends Pick<Running, 'ended' | 'hasEnded'> {
  readonly end: (how: Ended) => void;
}

function watched(): Process {
  let how: Ended | undefined;
  let resolve: (ending: Ended) => void = () => undefined;
  const ended = new Promise<Ended>((settle) => {
    resolve = settle;
  });
  return {
    ended,
    hasEnded: () => how,
    end(ending) {
      how ??= ending;
      resolve(ending);
    },
  };
}

function ready(child: ChildProcess): Promise<{ dir: string; pid: number }> {
  return new Promise((resolve, reject) => {
    const complaints: Buffer[] = [];
    child.stderr?.on('data', (chunk: Buffer) => complaints.push(chunk));
    const onExit = (): void => {
      reject(
        failure(
          'the supervisor of the servers did not start',
          Buffer.concat(complaints).toString(),
          TAIL_LINES,
        ),
      );
    };
    child.once('error', reject);
    child.once('exit', onExit);
    child.once('message', (message: FromSupervisor) => {
      child.off('error', reject);
      child.off('exit', onExit);
      child.stderr?.destroy();
      const { pid } = child;
      if (message.type === 'ready' && pid !== undefined) resolve({ dir: message.dir, pid });
      else reject(new Error('the supervisor of the servers did not start'));
    });
  });
}

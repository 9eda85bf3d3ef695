// The process that owns the servers. It runs in a session of its own, so that neither a Ctrl-C in the terminal
// nor a kill of the parent's process group reaches it, and it is the parent of every server, so that there is
// no moment in which a server runs and nobody knows of it. When its channel to the parent closes, for whatever
// reason (stop, exit, crash, SIGKILL), it stops exactly what it started and removes the folder.
import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { removeContainers, type Engine } from './engine.ts';
import { identityOf } from './identity.ts';
import type { Command, FromSupervisor, ToSupervisor } from './messages.ts';
import { FOLDER_PREFIX, sweep, type Record as Recorded } from './sweep.ts';

/** How long a server may take to end by itself before it is killed. */
const GRACE_MS = 3_000;

/** How long the engine may take to show a container that was asked for. */
const ENGINE_SETTLES_MS = 400;

const dir = mkdtempSync(join(tmpdir(), FOLDER_PREFIX));
// PostgreSQL runs as another user and must be able to walk through; names inside stay unlisted.
chmodSync(dir, 0o711);
const records = join(dir, 'records');
mkdirSync(records, { mode: 0o700 });
record('supervisor', process.pid);

const running = new Map<ChildProcess, Command>();
const containers: { engine: Engine; label: string }[] = [];
let stopping: Promise<void> | undefined;

process.on('message', (message: ToSupervisor) => {
  if (message.type === 'spawn') start(message.id, message.command);
  else if (message.type === 'kill') killOne(message.pid, message.signal);
  else if (message.type === 'halt') halt(message.id, message.pid, message.halted);
  else if (message.type === 'containers') note(message.id, message.engine, message.label);
  else void stop();
});
process.on('disconnect', () => void stop());
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => void stop());

// Whatever goes wrong in here, the servers must not outlive it.
for (const event of ['uncaughtException', 'unhandledRejection'] as const)
  process.on(event, () => void stop());

reply({ type: 'ready', dir });
// What earlier runs left behind: only possible where their supervisor was itself killed.
for (const warning of await sweep(dir)) reply({ type: 'warning', message: warning });

function start(id: number, command: Command): void {
  if (stopping !== undefined) return reply({ type: 'failed', id, message: 'the servers are being stopped' });
  const child = launch(command);
  if (typeof child === 'string') return reply({ type: 'failed', id, message: child });
  child.once('error', (error) => reply({ type: 'failed', id, message: error.message }));
  const { pid } = child;
  if (pid === undefined) return;
  running.set(child, command);
  if (command.finishes !== true) record('process', pid);
  child.once('exit', (code, signal) => {
    running.delete(child);
    rmSync(join(records, String(pid)), { force: true });
    reply({ type: 'exited', pid, code, signal });
  });
  reply({ type: 'spawned', id, pid });
}

function launch({ command, args, logFile, cwd, env, uid, gid }: Command): ChildProcess | string {
  try {
    const log = openSync(logFile, 'a', 0o600);
    const child = spawn(command, args, {
      // A group of its own: what the server forks is stopped with it, and nothing else is.
      detached: true,
      stdio: ['ignore', log, log],
      cwd: cwd ?? dir,
      env: { ...process.env, ...env },
      ...(uid === undefined ? {} : { uid }),
      ...(gid === undefined ? {} : { gid }),
    });
    closeSync(log);
    return child;
  } catch (error) {
    return (error as Error).message;
  }
}

function killOne(pid: number, signal: 'SIGTERM' | 'SIGKILL'): void {
  for (const child of running.keys()) if (child.pid === pid) kill(child, signal);
}

function halt(id: number, pid: number, halted: boolean): void {
  for (const child of running.keys()) if (child.pid === pid) kill(child, halted ? 'SIGSTOP' : 'SIGCONT');
  reply({ type: 'noted', id });
}

function note(id: number, engine: Engine, label: string): void {
  containers.push({ engine, label });
  write(`container-${containers.length}`, { kind: 'containers', engine, label });
  reply({ type: 'noted', id });
}

function stop(): Promise<void> {
  stopping ??= stopAll();
  return stopping;
}

async function stopAll(): Promise<void> {
  const problems: string[] = [];
  const ending = [...running].filter(([, { finishes }]) => finishes !== true);
  await Promise.all([
    ...ending.map(([child, { stopSignal }]) => end(child, stopSignal)),
    ...containers.map(({ engine, label }) =>
      removeAll(engine, label).catch((error: Error) => problems.push(error.message)),
    ),
  ]);
  try {
    rmSync(dir, { recursive: true, force: true, maxRetries: 5 });
  } catch (error) {
    problems.push((error as Error).message);
  }
  reply({ type: 'stopped', problems }, () => process.exit(0));
}

// The engine may still be making one that was asked for before the end: look again until there is none.
async function removeAll(engine: Engine, label: string): Promise<void> {
  do await delay(ENGINE_SETTLES_MS);
  while ((await removeContainers(engine, label)) > 0);
}

async function end(child: ChildProcess, stopSignal: Command['stopSignal']): Promise<void> {
  const ended = new Promise<void>((resolve) => {
    child.once('exit', () => resolve());
  });
  kill(child, stopSignal ?? 'SIGKILL');
  const timer = setTimeout(() => kill(child, 'SIGKILL'), GRACE_MS);
  await ended;
  clearTimeout(timer);
}

// As long as `exit` was not emitted the pid, and so the group, is the child's own: the kernel cannot have
// given it to somebody else.
function kill(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

function record(kind: 'supervisor' | 'process', pid: number): void {
  const identity = identityOf(pid);
  if (identity !== undefined) write(kind === 'supervisor' ? kind : String(pid), { kind, pid, identity });
}

function write(name: string, content: Recorded): void {
  // Renamed into place: a sweep must never read half a record.
  const unfinished = join(dir, 'record');
  writeFileSync(unfinished, JSON.stringify(content), { mode: 0o600 });
  renameSync(unfinished, join(records, name));
}

function reply(message: FromSupervisor, sent: () => void = () => undefined): void {
  // Nobody listens any more when the parent is gone: that is what this process is for.
  if (!process.connected || process.send === undefined) return sent();
  process.send(message, () => sent());
}

import type { Engine } from './engine.ts';

/** What the supervisor starts. Output goes to `logFile`, so that nothing ever blocks on a full pipe. */
export interface Command {
  readonly command: string;
  readonly args: readonly string[];
  readonly logFile: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  readonly uid?: number;
  readonly gid?: number;
  /** Sent first; what is still there a little later is killed. Default: killed at once. */
  readonly stopSignal?: 'SIGTERM' | 'SIGINT' | 'SIGQUIT';
  /** Left to finish by itself when everything else is stopped: a package manager must not be cut off half-way. */
  readonly finishes?: boolean;
}

/** From the process that called `startServers` to its supervisor. */
export type ToSupervisor =
  | { readonly type: 'spawn'; readonly id: number; readonly command: Command }
  | { readonly type: 'kill'; readonly pid: number; readonly signal: 'SIGTERM' | 'SIGKILL' }
  | { readonly type: 'halt'; readonly id: number; readonly pid: number; readonly halted: boolean }
  | { readonly type: 'containers'; readonly id: number; readonly engine: Engine; readonly label: string }
  | { readonly type: 'stop' };

/** From the supervisor to the process that called `startServers`. */
export type FromSupervisor =
  | { readonly type: 'ready'; readonly dir: string }
  | { readonly type: 'spawned'; readonly id: number; readonly pid: number }
  | { readonly type: 'failed'; readonly id: number; readonly message: string }
  | { readonly type: 'noted'; readonly id: number }
  | {
      readonly type: 'exited';
      readonly pid: number;
      readonly code: number | null;
      readonly signal: string | null;
    }
  | { readonly type: 'warning'; readonly message: string }
  | { readonly type: 'stopped'; readonly problems: readonly string[] };

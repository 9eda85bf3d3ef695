import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/**
 * What tells a process from a later one that was given the same pid: the boot it runs in and the moment it
 * was started. `undefined` when there is no such process, or when the platform cannot tell.
 */
export function identityOf(pid: number): string | undefined {
  return process.platform === 'linux' ? fromProc(pid) : fromPs(pid);
}

/** Whether the process that had this pid and identity is still there. */
export function isSame(pid: number, identity: string): boolean {
  return identityOf(pid) === identity;
}

function fromProc(pid: number): string | undefined {
  const stat = readIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return undefined;
  // The program's name stands in parentheses and may itself hold blanks and parentheses: count from the last.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state] = fields;
  const startedAt = fields[19];
  // A zombie runs no more: it only waits for its parent to take notice.
  if (state === 'Z' || state === 'X' || startedAt === undefined) return undefined;
  return `${bootId()}:${startedAt}`;
}

function fromPs(pid: number): string | undefined {
  try {
    const said = execFileSync('ps', ['-o', 'stat=,lstart=', '-p', String(pid)], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    const [state, ...startedAt] = said.trim().split(/\s+/);
    return state === undefined || state === '' || state.startsWith('Z') ? undefined : startedAt.join(' ');
  } catch {
    // ps ends with 1 when there is no such process; where there is no ps, nobody can tell.
    return undefined;
  }
}

let boot: string | undefined;

function bootId(): string {
  boot ??= (readIfThere('/proc/sys/kernel/random/boot_id') ?? 'boot').trim();
  return boot;
}

function readIfThere(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return undefined;
  }
}

import { readFileSync, readlinkSync } from 'node:fs';
import { hostname } from 'node:os';
import { z } from 'zod';

const ownerSchema = z.strictObject({
  host: z.string(),
  pid: z.int(),
  /** Boot of the kernel and PID namespace: a pid means nothing outside of them. */
  kernel: z.string().exactOptional(),
  /** Start time of the process: pids are used again. */
  started: z.string().exactOptional(),
});

/** Names this process, so that another one can tell whether it still lives. */
export function processOwner(): string {
  const kernel = kernelId();
  const started = startOf(process.pid);
  return JSON.stringify({
    host: hostname(),
    pid: process.pid,
    ...(kernel === undefined || started === undefined || started === 'gone' ? {} : { kernel, started }),
  } satisfies z.infer<typeof ownerSchema>);
}

/** `host:pid`, for people. */
export function showOwner(owner: string): string {
  const parsed = parse(owner);
  return parsed === undefined ? 'another process' : `${parsed.host}:${parsed.pid}`;
}

/**
 * Whether the owner is certain to be dead: it ran under this very kernel and in this PID namespace, and no process
 * with its pid and start time is there. Where that cannot be known (another machine, no /proc) the answer is no,
 * and its lease simply has to run out.
 */
export function isGone(owner: string): boolean {
  const parsed = parse(owner);
  if (parsed?.kernel === undefined || parsed.kernel !== kernelId()) return false;
  const started = startOf(parsed.pid);
  return started !== undefined && started !== parsed.started;
}

function parse(owner: string): z.infer<typeof ownerSchema> | undefined {
  try {
    return ownerSchema.safeParse(JSON.parse(owner)).data;
  } catch {
    return undefined; // written by something else: not ours to judge
  }
}

function kernelId(): string | undefined {
  try {
    const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
    return `${boot} ${readlinkSync('/proc/self/ns/pid')}`;
  } catch {
    return undefined; // not Linux, or /proc is hidden
  }
}

// Fields of /proc/<pid>/stat after the command, which may itself hold spaces and parentheses: state is the first,
// the start time in ticks since boot the twentieth. Source: proc_pid_stat(5).
function startOf(pid: number): string | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch (error) {
    // With hidepid a living process of another user is not there either: only the kernel's own word counts.
    return hasCode(error, 'ENOENT') && isUnknown(pid) ? 'gone' : undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  // A killed process whose parent has not collected it yet does nothing any more.
  return fields[0] === 'Z' || fields[0] === 'X' ? 'gone' : fields[19];
}

function isUnknown(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return hasCode(error, 'ESRCH');
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

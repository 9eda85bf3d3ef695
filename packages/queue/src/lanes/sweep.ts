import type { LaneKeys } from './names.ts';
import { lockSweep, stepLanes, sweep, type ScriptClient } from './scripts.ts';

/** How many lanes one script looks at: the server serves nobody else meanwhile, about 1 ms. */
const BATCH = 100;

/** A lane that holds nothing is retired when nobody has used it for so long, in milliseconds. */
const RETIRED_AFTER = 86_400_000;

/** What a sweep works with. */
export interface SweepOptions {
  readonly client: ScriptClient;
  readonly keys: LaneKeys;
  /** How often lanes are swept, by however many workers, in milliseconds. */
  readonly interval: number;
  /** Looks for jobs of a lane whose worker has died, and answers which ones it has found. */
  readonly revive: (tenant: string) => Promise<readonly string[]>;
  /** Whether a lane is frozen: nothing of it goes, whatever its age. */
  readonly isHeld: (tenant: string) => boolean;
  /** Removes from lanes what has ended long ago; left out where all of it is kept. */
  readonly expire?: ((tenants: readonly string[]) => Promise<void>) | undefined;
  /** Whether to stop. */
  readonly isClosing: () => boolean;
}

/**
 * Looks at all registered lanes, once per interval: for work that nobody has noted, since its process died in between or
 * knows nothing of lanes; for jobs whose worker has died; and for ended ones that are not to be kept any longer.
 *
 * @returns the jobs whose worker has died; nothing when another worker sweeps
 */
export async function sweepLanes(options: SweepOptions): Promise<string[]> {
  const { client, keys, interval, revive, expire, isHeld, isClosing } = options;
  if (!(await lockSweep(client, keys, interval))) return [];
  const revived: string[] = [];
  for (let cursor: string | undefined = '0'; cursor !== undefined && !isClosing();) {
    const { next, tenants } = await stepLanes(client, keys, cursor, BATCH);
    for (let at = 0; at < tenants.length; at += BATCH) {
      const looked = tenants.slice(at, at + BATCH);
      const [held, free] = [looked.filter(isHeld), looked.filter((tenant) => !isHeld(tenant))];
      const { active } = await sweep(client, keys, Date.now() - RETIRED_AFTER, free);
      const inHeld = held.length === 0 ? [] : (await sweep(client, keys, 0, held)).active;
      revived.push(...(await Promise.all([...active, ...inHeld].map(revive))).flat());
      await expire?.(free);
    }
    cursor = next === '0' ? undefined : next;
  }
  return revived;
}

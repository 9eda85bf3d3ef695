import { queueKeyRing } from '../keys.ts';
import { checkQueueName } from '../lanes/names.ts';
import { jobNames } from '../names.ts';
import { parseTenantOptions } from '../options.ts';
import { MAX_AGE } from '../replay.ts';
import type { StoreContext } from '../store.ts';

/** How many other queues are remembered. The names may come from what somebody has written to Redis. */
const REMEMBERED = 256;

/**
 * What each queue of a deployment is worked with: prefix, names and fence are the same for all that one client reaches,
 * and the keys are derived for each of them.
 *
 * @param tenant - the option `tenant`
 * @returns the context of a queue; the same object for the same name
 * @throws {@link ConfigError} when the options are not usable; what is returned throws it for the name of a queue
 */
export function contextsOf(tenant: unknown, prefix: string): (queue: string) => StoreContext {
  const { signingKeys, names, fence, place, maxAge = MAX_AGE } = parseTenantOptions(tenant);
  const codec = jobNames(names);
  const known = new Map<string, StoreContext>();
  const of = (queue: string): StoreContext => {
    const found = known.get(queue);
    if (found !== undefined) return found;
    const ring = queueKeyRing(signingKeys, prefix, checkQueueName(queue));
    const made: StoreContext = { prefix, queue, ring, names: codec, fence, place, maxAge, of };
    const [oldest] = known.keys();
    if (oldest !== undefined && known.size >= REMEMBERED) known.delete(oldest);
    known.set(queue, made);
    return made;
  };
  return of;
}

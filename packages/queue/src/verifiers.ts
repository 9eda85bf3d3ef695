import { Queue as RawQueue } from 'bullmq';
import type { Cluster, Redis } from 'ioredis';
import { contextOf } from './client.ts';
import { queueKeyRing } from './keys.ts';
import type { CheckedKey } from './options.ts';
import type { CheckedPlaces, QueueKeyspace } from './places.ts';
import type { Verifier } from './verify.ts';

/** With what the jobs of some queues are verified. */
export interface Verifiers {
  readonly of: (queue: QueueKeyspace) => Verifier;
  /** The names of the queues whose keys nobody has given, in words; `undefined` when there are none. */
  readonly unknown: string | undefined;
}

/**
 * @param source - what an eraser or an auditor was given: a Queue of ours has its own keys, for its own queue
 * @param signingKeys - those of the option, which come first
 */
export function verifiersOf(
  source: Redis | Cluster | RawQueue,
  { queues, names }: CheckedPlaces,
  signingKeys: readonly [CheckedKey, ...CheckedKey[]] | undefined,
): Verifiers {
  const own = source instanceof RawQueue ? contextOf(source) : undefined;
  const known = new Map<QueueKeyspace, Verifier>();
  for (const place of queues) {
    const { prefix, queue } = place;
    // The keys of one queue verify nothing of another: a ring of its own may be anything.
    const isOwn = own !== undefined && own.queue === queue && own.prefix === prefix;
    const ring = signingKeys === undefined ? undefined : queueKeyRing(signingKeys, prefix, queue);
    const found = ring ?? (isOwn ? own.ring : undefined);
    if (found !== undefined) known.set(place, { prefix, queue, names, ring: found });
  }
  const unknown = queues.filter((place) => !known.has(place)).map(({ queue }) => queue);
  return {
    unknown: unknown.length === 0 ? undefined : unknown.join(', '),
    of(queue) {
      const verifier = known.get(queue);
      if (verifier === undefined) throw new TypeError('not a queue whose keys are known');
      return verifier;
    },
  };
}

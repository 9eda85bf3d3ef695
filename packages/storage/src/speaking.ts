import type { Call, Realm } from './call.ts';
import { encodePath } from './copy-source.ts';

/**
 * Makes texts logical. In them a name can stand anywhere; what is replaced are the very names that this call has sent,
 * longest first and in one pass, so that a logical key which looks like a physical one is not cut a second time. Of a
 * batch only those that stand there: a pattern of a thousand keys takes seconds, in which nobody is served.
 */
export function speaker(
  { names }: Realm,
  { tenant, ...call }: Call,
  buckets = otherBuckets(call),
  sent: Iterable<readonly [string, string]> = call.spellings,
): (text: string) => string {
  const known = [[names.prefix(tenant), ''] as const, ...sent];
  return (text) => {
    const spellings = new Map<string, string>();
    const add = (physical: string, logical: string): void => {
      if (text.includes(physical)) spellings.set(physical, logical);
    };
    const isEncoded = text.includes('%');
    for (const [physical, logical] of known) {
      add(physical, logical);
      if (isEncoded) add(encodePath(physical), encodePath(logical));
    }
    const found = [...spellings.keys()].sort((one, other) => other.length - one.length);
    const patterns = found.map((name) => name.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&'));
    if (buckets.pattern !== '') patterns.push(buckets.pattern);
    if (patterns.length === 0) return text;
    const pattern = new RegExp(patterns.join('|'), 'g');
    return text.replace(pattern, (name) => spellings.get(name) ?? buckets.names.get(name) ?? '');
  };
}

/** The beginning of an address, which names no key. */
export function named(call: Call, text: string): string {
  const { names, pattern } = otherBuckets(call);
  return pattern === '' ? text : text.replace(new RegExp(pattern, 'g'), (name) => names.get(name) ?? '');
}

/** The buckets of a tenant's place that the caller knows by other names, as whole words: a name may be part of any. */
export function otherBuckets({ home }: Pick<Call, 'home'>): {
  readonly names: ReadonlyMap<string, string>;
  readonly pattern: string;
} {
  const others = [...home.buckets].filter(([accepted, bucket]) => accepted !== bucket);
  const words = others.map(([, bucket]) => bucket.replaceAll('.', String.raw`\.`));
  return {
    names: new Map(others.map(([accepted, bucket]) => [bucket, accepted])),
    pattern: others.length === 0 ? '' : String.raw`(?<![a-z0-9.-])(?:${words.join('|')})(?![a-z0-9-])`,
  };
}

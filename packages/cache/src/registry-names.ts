import { Command } from 'ioredis';
import type { Argument } from './keyspec.ts';
import { RESERVED } from './names.ts';

/** A name of tenantkit's own, taken apart. */
export interface RegistryName {
  /** The tenant's keys, the keys that are about one person, or the mark that registries are complete. */
  readonly kind: 'keys' | 'subject' | 'indexed';
  /** The tenant's prefix, or for `indexed` the template. */
  readonly of: string;
  readonly subject?: string;
  /** What stands in braces; `undefined` where nothing does. */
  readonly tag: string | undefined;
}

const SLOTS = 16_384;

const NAME = new RegExp(
  `^${RESERVED}(?:(keys)(?:\\{([0-9a-z]+)\\})?|(subject)(?:\\{([0-9a-z]+)\\})?:([A-Za-z0-9_-]{1,64})|(indexed)):(.+)$`,
  's',
);

// The longest id of a person.
const MAX_ID = 64;

// What the members of a registry begin with.
const KEY = 'k';
const SUBJECT = 's';
const [KEY_BYTE] = Buffer.from(KEY);
const KEY_BYTES = Buffer.from(KEY);

/**
 * Names of the sorted sets that say which keys a tenant has, and which of them are about a person.
 *
 * The tenant's prefix is part of the name, so that templates do not meet, and a hash tag in it keeps the registry
 * in the slot of the keys. In a Cluster without such a tag every slot has registries of its own, whose names carry
 * a tag of that slot: an entry and its key are then always on the same server, and move together.
 *
 * @param tag - {@link slotTag} of the key's slot, or `undefined` where all keys of the tenant are in one place
 */
export function keysName(prefix: string, tag: string | undefined): string {
  return `${RESERVED}keys${braced(tag)}:${prefix}`;
}

/** The name of the sorted set of one person's keys; see {@link keysName}. */
export function subjectName(prefix: string, subject: string, tag: string | undefined): string {
  return `${subjectStart(tag)}${subject}:${prefix}`;
}

/** What the names of subject sets begin with. */
export function subjectStart(tag: string | undefined): string {
  return `${RESERVED}subject${braced(tag)}:`;
}

/** The name of the mark that all tenants' registries are complete. */
export function indexedName(template: string): string {
  return `${RESERVED}indexed:${template}`;
}

/** @returns `undefined` for a name that this version does not write */
export function parseRegistryName(name: string): RegistryName | undefined {
  const [, keys, slot, subject, place, id, indexed, of] = NAME.exec(name) ?? [];
  if (of === undefined) return undefined;
  if (keys !== undefined) return { kind: 'keys', of, tag: slot };
  if (subject !== undefined && id !== undefined) return { kind: 'subject', of, subject: id, tag: place };
  return indexed === undefined ? undefined : { kind: 'indexed', of, tag: undefined };
}

/**
 * Whether a client writes registries with this tag for a tenant. Under any other name nobody looks for one.
 *
 * @param isCluster - whether the client is a Cluster
 */
export function isOwnTag(tag: string | undefined, prefix: string, isCluster: boolean): boolean {
  if (!isCluster || hasFixedSlot(prefix)) return tag === undefined;
  return tag !== undefined && slotTag(slotOf(tag)) === tag;
}

/** The entry of a key. Logical, so that no entry can ever name the key of another tenant. */
export function keyEntry(logical: Argument): Argument {
  return typeof logical === 'string' ? KEY + logical : Buffer.concat([KEY_BYTES, logical]);
}

/** The entry, in the tenant's registry, of a person's set. */
export function subjectEntry(subject: string): string {
  return SUBJECT + subject;
}

/** What an entry says; `undefined` for one that this version does not write. */
export function parseEntry(
  entry: Buffer,
): { readonly key: Buffer } | { readonly subject: string } | undefined {
  if (entry[0] === KEY_BYTE) return { key: entry.subarray(1) };
  // A longer one need not fit into a text.
  const text = entry.toString('latin1', 0, 1 + MAX_ID + 1);
  return /^s[A-Za-z0-9_-]{1,64}$/.test(text) ? { subject: text.slice(1) } : undefined;
}

/** Whether a prefix puts all of a tenant's keys into one slot, as Redis reads hash tags. */
export function hasFixedSlot(prefix: string): boolean {
  return /^[^{]*\{[^}]+\}/s.test(prefix);
}

/** The slot of a physical key. */
export function slotOf(key: Argument): number {
  const slot = Command.prototype.getSlot.call({ getKeys: () => [key] } as never);
  if (typeof slot !== 'number') throw new TypeError('a key has a slot');
  return slot;
}

let tags: string[] | undefined;

/** A short text whose hash is `slot`. */
export function slotTag(slot: number): string {
  tags ??= findTags();
  return tags[slot] as string;
}

/** The tags of all slots. */
export function slotTags(): readonly string[] {
  return (tags ??= findTags());
}

function findTags(): string[] {
  const found: string[] = [];
  let missing = SLOTS;
  for (let n = 0; missing > 0; n += 1) {
    const tag = n.toString(36);
    const slot = slotOf(tag);
    if (found[slot] !== undefined) continue;
    found[slot] = tag;
    missing -= 1;
  }
  return found;
}

function braced(tag: string | undefined): string {
  return tag === undefined ? '' : `{${tag}}`;
}

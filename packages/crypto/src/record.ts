import { tenantId } from '@tenantkit/core';
import { z } from 'zod';

/** The first bytes of every stored record: what a later format is told apart by. */
export const RECORD_FORMAT = 'tenantkit-keys/1';

/** The highest epoch: the ciphertext has 32 bits for it. */
const MAX_EPOCH = 0xffff_ffff;

/** One secret of a tenant, wrapped. The newest epoch encrypts, the earlier ones only decrypt. */
export interface EpochRecord {
  readonly epoch: number;
  /** RFC 3339. */
  readonly createdAt: string;
  /** Id of the master key that wrapped it. */
  readonly master: string;
  /** base64url. */
  readonly wrapped: string;
}

/** A tenant that has keys. */
export interface LiveRecord {
  readonly format: typeof RECORD_FORMAT;
  readonly tenant: string;
  /** 1 for the first record of a tenant, one more for each that replaces it. */
  readonly revision: number;
  readonly state: 'live';
  /**
   * The longest that any process holds this tenant's keys in memory, in milliseconds. A process that holds them
   * for longer raises it before it does, so that a shred can say from the store alone when it is complete.
   */
  readonly heldFor: number;
  /** Ascending. */
  readonly epochs: readonly EpochRecord[];
}

/** A tenant whose keys were destroyed. Permanent: no store ever replaces it. */
export interface Tombstone {
  readonly format: typeof RECORD_FORMAT;
  readonly tenant: string;
  readonly revision: number;
  readonly state: 'shredded';
  readonly heldFor: number;
  /** RFC 3339. */
  readonly shreddedAt: string;
  /** The epochs whose secrets were destroyed. */
  readonly destroyed: readonly number[];
}

/** What a key store keeps for one tenant. */
export type KeyRecord = LiveRecord | Tombstone;

/** The longest that {@link KeyringCache.maxAge} lets a key be held: what is more was not written by us. */
const MAX_HELD_FOR = 4_500_000;

/** The last revision: a file name has eight digits. The last but one is left for nothing but a tombstone. */
const MAX_REVISION = 99_999_999;

const epochNumber = z.int().min(1).max(MAX_EPOCH);

const common = {
  format: z.literal(RECORD_FORMAT),
  tenant: tenantId,
  heldFor: z.int().min(0).max(MAX_HELD_FOR),
};

const live: z.ZodType<LiveRecord> = z.strictObject({
  ...common,
  revision: z
    .int()
    .min(1)
    .max(MAX_REVISION - 1),
  state: z.literal('live'),
  epochs: z
    .array(
      z.strictObject({
        epoch: epochNumber,
        createdAt: z.iso.datetime(),
        master: z.string().regex(/^[0-9a-f]{16}$/),
        wrapped: z.base64url(),
      }),
    )
    .min(1)
    .refine((epochs) => epochs.every(({ epoch }, at) => epoch > (epochs[at - 1]?.epoch ?? 0)), 'must ascend'),
});

const tombstone: z.ZodType<Tombstone> = z.strictObject({
  ...common,
  revision: z.int().min(1).max(MAX_REVISION),
  state: z.literal('shredded'),
  shreddedAt: z.iso.datetime(),
  destroyed: z.array(epochNumber),
});

/** Schema of a stored record: what a store reads back is outside input. */
const keyRecord: z.ZodType<KeyRecord> = z.union([live, tombstone]);

/** Whether the record can take the number that it has: one that cannot is never found again. */
export function isNumbered({ state, revision }: KeyRecord): boolean {
  return revision <= (state === 'live' ? MAX_REVISION - 1 : MAX_REVISION);
}

/** Reads a stored text; `undefined` when it is not a whole record of this tenant and revision. */
export function parseRecord(text: string, tenant: string, revision: number): KeyRecord | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // Cut short or overwritten: the caller decides whether that was a crash, a race or damage.
    return undefined;
  }
  const { success, data } = keyRecord.safeParse(value);
  return success && data.tenant === tenant && data.revision === revision ? data : undefined;
}

/** The epoch that encrypts. */
export function newestOf({ epochs }: LiveRecord): number {
  return epochs.at(-1)?.epoch ?? 0;
}

import type { DeduplicationOptions } from 'bullmq';
import { refuse, refusal, type TenantContext } from '@tenantkit/core';
import { z } from 'zod';
import { isWellFormed } from './bytes.ts';
import { storable } from './canonical.ts';
import { onLane, ownId, physicalId, type Guard, type Handler } from './views/guard.ts';

/** A bigger one would be written with an exponent, which Redis does not take as a time to live. */
const LONGEST_TTL = 99_999_999_999_999;

/**
 * BullMQ's option `deduplication`. The id is stored as it is, in the lane of the tenant, so that any text will do: the
 * keys that are made of it (`de:<id>`, `dn:<id>`) are no job's and meet no other key of the lane.
 */
export const deduplicationSchema = z.strictObject({
  id: z.string().min(1).refine(isWellFormed),
  ttl: z.number().int().nonnegative().max(LONGEST_TTL).transform(storable).optional(),
  extend: z.boolean().optional(),
  replace: z.boolean().optional(),
  reschedule: z.boolean().optional(),
  keepLastIfActive: z.boolean().optional(),
} satisfies Record<keyof DeduplicationOptions, z.ZodType>);

const BAD_ID = refuse(
  'a deduplication id must be well-formed text that is not empty',
  'Give the id that the job was added with, in the option deduplication.',
);

/** The id that checked options of a job say, empty without one: it goes into the key, the hash and the header. */
export function deduplicationOf(options: Readonly<Record<string, unknown>>): string {
  return (options['deduplication'] as DeduplicationOptions | undefined)?.id ?? '';
}

/** What is asked of a deduplication id, in the tenant's own lane. */
export const deduplicationHandlers = {
  /** Which job holds the id. */
  async deduplicating(guard, tenant, operation, [id]) {
    const found = await onLane(guard, tenant, operation, [checkDeduplicationId(operation, id)]);
    return found === null ? null : ownId(guard, tenant, found);
  },
  /** Sets the id free, whichever job holds it. */
  deduplicated: (guard, tenant, operation, [id]) =>
    onLane(guard, tenant, operation, [checkDeduplicationId(operation, id)]),
  /** Sets the id free if this job holds it. */
  deduplicatedBy: (guard: Guard, tenant: TenantContext, operation, [id, jobId]) =>
    onLane(guard, tenant, operation, [
      checkDeduplicationId(operation, id),
      physicalId(guard, tenant, operation, jobId),
    ]),
} satisfies Readonly<Record<string, Handler>>;

function checkDeduplicationId(operation: string, id: unknown): string {
  if (typeof id !== 'string' || id === '' || !isWellFormed(id)) throw refusal('queue', operation, BAD_ID);
  return id;
}

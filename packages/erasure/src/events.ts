import { createHash } from 'node:crypto';
import { z } from 'zod';
import { tenantId } from '@tenantkit/core';
import { STATES, type ErasureState } from './states.ts';

// A line break or an escape sequence in a reason would let it forge lines of a terminal or of a log; bidi
// characters would show it in another order than it was signed in.
const READABLE = /^[^\p{Cc}\p{Cs}\p{Bidi_Control}]+$/u;

/** One line of text that people read, of at most `max` characters. */
export function line(max: number): z.ZodString {
  return z.string().min(1).max(max).regex(READABLE, 'must be one line without control characters');
}

const count = z.int().min(0);
const label = line(256);
/** RFC 3339 in UTC, as `Date.toISOString` writes it. */
export const moment = z.iso.datetime();

/** So many of one kind. */
export const itemSchema = z.strictObject({ kind: label, count, bytes: count.exactOptional() });
/** What stays, and why. */
export const keptSchema = z.strictObject({
  kind: label,
  count,
  why: line(1_024),
  until: z.iso.datetime({ offset: true }).exactOptional(),
});
/** The positive control of a recount. */
export const controlSchema = z.strictObject({ planted: count, found: count, method: line(1_024) });

const items = z.array(itemSchema).readonly();
const kept = z.array(keptSchema).readonly();

/** What {@link Eraser.plan} answers. */
export const inventorySchema = z.strictObject({
  store: label,
  items,
  kept,
  notes: z.array(line(1_024)).readonly().exactOptional(),
});
/** What {@link Eraser.erase} answers. */
export const outcomeSchema = z.strictObject({
  store: label,
  erased: items,
  kept,
  completeAt: z.iso.datetime({ offset: true }).exactOptional(),
});
/** What {@link Eraser.verify} answers. */
export const verificationSchema = z.strictObject({
  store: label,
  remaining: items,
  kept,
  control: controlSchema,
});

/** Names a person without saying who: HMAC-SHA-256 of tenant and subject under a random salt. */
export const subjectDigestSchema = z.strictObject({
  alg: z.literal('HMAC-SHA256'),
  salt: z.base64url().length(22),
  digest: z.base64url().length(43),
});

/** How other processes were kept from writing meanwhile. */
export const fenceSchema = z.discriminatedUnion('mode', [
  z.strictObject({ mode: z.literal('tenant'), maxStaleness: z.number().min(0) }),
  z.strictObject({ mode: z.literal('none'), why: z.enum(['not_configured', 'subject_scope']) }),
]);

const failureSchema = z.strictObject({
  store: label,
  phase: z.enum(['plan', 'count', 'erase', 'verify']),
  name: z.string(),
  code: z.string().exactOptional(),
  message: z.string(),
  unreachable: z.boolean(),
});

const planned = z.strictObject({
  store: label,
  stage: z.enum(['purge', 'shred']),
  inventory: inventorySchema,
});

/** Who asks for an erasure, and why. */
export const askedSchema = z.strictObject({ reason: line(1_024), requestedBy: line(256) });

/**
 * Everything that can be written into a ledger. The history is the only truth: what an erasure is at any moment
 * is computed from it, so that nothing which a certificate states can be changed beside the chain.
 */
export const bodySchema = z.discriminatedUnion('type', [
  z.strictObject({
    type: z.literal('requested'),
    tenant: tenantId,
    subject: subjectDigestSchema.exactOptional(),
    ...askedSchema.shape,
  }),
  /** The same scope was requested again while this erasure was open. */
  z.strictObject({ type: z.literal('joined'), ...askedSchema.shape }),
  z.strictObject({ type: z.literal('planned'), stores: z.array(planned).min(1).readonly() }),
  z.strictObject({ type: z.literal('approved'), by: line(256) }),
  z.strictObject({ type: z.literal('run_started'), owner: z.string() }),
  z.strictObject({ type: z.literal('run_interrupted') }),
  z.strictObject({ type: z.literal('advanced'), to: z.enum(STATES) }),
  z.strictObject({ type: z.literal('fenced'), fence: fenceSchema }),
  /** Somebody lifted the freeze meanwhile: what was erased may have been written again. */
  z.strictObject({ type: z.literal('fence_lost') }),
  z.strictObject({ type: z.literal('fence_restored') }),
  z.strictObject({ type: z.literal('tombstoned') }),
  z.strictObject({ type: z.literal('counted'), inventory: inventorySchema }),
  z.strictObject({ type: z.literal('erased'), outcome: outcomeSchema }),
  z.strictObject({ type: z.literal('failed'), failure: failureSchema }),
  z.strictObject({ type: z.literal('verified'), verification: verificationSchema }),
  z.strictObject({ type: z.literal('unverified'), verification: verificationSchema }),
  z.strictObject({
    type: z.literal('completed'),
    to: z.enum(['completed', 'completed_with_retention']),
    certificate: z.string(),
  }),
]);

/** What happened; see {@link LedgerEvent} for where it stands in the history. */
export type EventBody = z.infer<typeof bodySchema>;
/** The digest under which a certificate names a person. */
export type SubjectDigest = z.infer<typeof subjectDigestSchema>;
/** See {@link fenceSchema}. */
export type FenceMode = z.infer<typeof fenceSchema>;

/** One entry of the history. */
export interface LedgerEvent {
  /** 1, 2, 3, … over the whole ledger, without gaps. */
  readonly seq: number;
  readonly erasure: string;
  /** RFC 3339; never earlier than the entry before it of the same erasure. */
  readonly at: string;
  /** Chains to the entry before it; see {@link chainHash}. */
  readonly hash: string;
  readonly body: EventBody;
}

/** An event as it is stored: `data` is the JSON text of the body, byte for byte what was hashed. */
export interface StoredEvent {
  readonly seq: number;
  readonly erasure: string;
  readonly at: string;
  readonly data: string;
}

/** The hash that the first entry chains to. */
export const GENESIS = '';

/**
 * The hash of an entry: SHA-256 over the hash before it and everything in the entry, so that altering, removing
 * or reordering history changes every later hash, and with them the head that certificates have signed.
 */
export function chainHash(previous: string, { seq, erasure, at, data }: StoredEvent): string {
  const text = JSON.stringify(['tenantkit.ledger.v1', previous, seq, erasure, at, data]);
  return createHash('sha256').update(text).digest('base64url');
}

/** The state that the event moves its erasure to, if it does. */
export function movesTo(body: EventBody): ErasureState | undefined {
  const to = MOVES[body.type];
  return typeof to === 'string' ? to : 'to' in body ? body.to : undefined;
}

const MOVES: Readonly<Partial<Record<EventBody['type'], ErasureState>>> = Object.freeze({
  __proto__: null,
  requested: 'received',
  planned: 'planned',
  approved: 'approved',
});

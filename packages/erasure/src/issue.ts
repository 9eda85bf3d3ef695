import { CERTIFICATE_TYPE, encodeCertificate, type Certificate } from './certificate.ts';
import { LedgerError } from './errors.ts';
import type { EventBody } from './events.ts';
import type { LedgerHead } from './ledger.ts';
import type { ErasureRecord, StoreRecord } from './record.ts';
import type { Signer } from './signer.ts';
import { verifyCertificate } from './verify.ts';
import { VERSION } from './version.ts';

/**
 * Signs the certificate of an erasure that is verified throughout, and verifies it like a recipient would: a
 * signer that signs with another key than it says must be found now, while the erasure is still open.
 *
 * @param head - the end of the ledger's history, which was walked just now
 */
export async function issueCertificate(
  record: ErasureRecord,
  head: LedgerHead,
  signer: Signer,
  now: number,
): Promise<EventBody & { type: 'completed' }> {
  const statement = stateOf(record, head, now);
  const certificate = await signer.sign(encodeCertificate(statement), CERTIFICATE_TYPE);
  await verifyCertificate(certificate, { keys: [signer.publicKey] });
  return { type: 'completed', to: statement.outcome, certificate };
}

function stateOf(record: ErasureRecord, head: LedgerHead, now: number): Certificate {
  const [request] = record.requests;
  const { plan, approval, startedAt, subjectDigest, fence } = record;
  if (!request || !plan || !approval || !startedAt || !fence) throw incomplete();
  const stores = record.stores.map(toStore);
  // A clock that was set back meanwhile must not make the end earlier than what came before it.
  const times = [record.tombstonedAt, ...stores.map(({ verifiedAt }) => verifiedAt), startedAt];
  const completed = Math.max(now, ...times.map((time) => Date.parse(time ?? startedAt)));
  const completeAt = Math.max(completed, ...stores.map((store) => Date.parse(store.completeAt ?? startedAt)));
  return {
    version: 1,
    erasure: record.id,
    tenant: record.tenant,
    ...(subjectDigest === undefined ? {} : { subject: subjectDigest }),
    outcome: stores.some(keepsSomething) ? 'completed_with_retention' : 'completed',
    reason: request.reason,
    requestedBy: request.requestedBy,
    approvedBy: approval.by,
    times: {
      requestedAt: request.at,
      plannedAt: plan.at,
      approvedAt: approval.at,
      startedAt,
      completedAt: iso(completed),
    },
    completeAt: iso(completeAt),
    stores,
    fence: fence.mode === 'none' ? fence : fenced(record, fence.maxStaleness),
    ledger: { seq: head.seq, hash: head.hash },
    issuer: { name: 'tenantkit', version: VERSION },
  };
}

function toStore({
  store,
  stage,
  counted,
  erased,
  verification,
  verifiedAt,
  completeAt,
}: StoreRecord): Certificate['stores'][number] {
  if (!counted || !verification || !verifiedAt) throw incomplete();
  const { remaining, control, kept } = verification;
  return {
    store,
    stage,
    before: counted.items,
    erased,
    remaining,
    control,
    kept,
    verifiedAt,
    ...(completeAt === undefined ? {} : { completeAt }),
  };
}

function fenced({ frozenAt, tombstonedAt }: ErasureRecord, maxStaleness: number): Certificate['fence'] {
  if (!frozenAt || !tombstonedAt) throw incomplete();
  return { mode: 'tenant', frozenAt, maxStaleness, tombstonedAt };
}

function keepsSomething({ kept }: Certificate['stores'][number]): boolean {
  return kept.some(({ count }) => count > 0);
}

function iso(time: number): string {
  return new Date(time).toISOString();
}

function incomplete(): LedgerError {
  return new LedgerError({
    operation: 'certificate',
    reason: 'tampered',
    problem: 'a step that comes before completion is not in the history',
    hint: 'Its history was altered outside of tenantkit: restore it from a backup and find out who wrote to it.',
  });
}

import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { SubjectDigest } from './events.ts';

/**
 * The digest under which ledger and certificate name a person: whoever has the id can check that a certificate
 * is about it, and nobody can look it up. The salt is random for every erasure, so that two certificates about
 * one person cannot be linked. Ids that can be guessed (short numbers) can be found by trying them all, as with
 * every public digest.
 */
export function digestSubject(tenant: string, subject: string, salt = newSalt()): SubjectDigest {
  const text = JSON.stringify(['tenantkit.subject.v1', tenant, subject]);
  const digest = createHmac('sha256', Buffer.from(salt, 'base64url')).update(text).digest('base64url');
  return { alg: 'HMAC-SHA256', salt, digest };
}

/** Whether the digest is that of this person in this tenant. */
export function isDigestOf(given: SubjectDigest, tenant: string, subject: string): boolean {
  const expected = Buffer.from(digestSubject(tenant, subject, given.salt).digest);
  const actual = Buffer.from(given.digest);
  return expected.length === actual.length && timingSafeEqual(expected, actual);
}

function newSalt(): string {
  return randomBytes(16).toString('base64url');
}

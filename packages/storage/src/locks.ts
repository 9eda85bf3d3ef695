import { GetObjectLegalHoldCommand, GetObjectRetentionCommand } from '@aws-sdk/client-s3';
import { ConfigError } from '@tenantkit/core';
import type { Entry } from './listing.ts';
import type { Remote } from './remote.ts';

/** What a lock keeps a version from being deleted by. */
export interface Lock {
  readonly legalHold: boolean;
  readonly retention?: {
    /** `GOVERNANCE` can be lifted with a right of its own, `COMPLIANCE` by nobody. */
    readonly mode: string;
    readonly until: Date;
  };
}

/** Why a version cannot be deleted now, as plans and certificates say it. */
export interface Hold {
  readonly why: string;
  /** RFC 3339; absent while nobody knows. */
  readonly until?: string;
}

/**
 * The lock of a version; `undefined` when nothing holds it, or when it is gone.
 *
 * Two requests, where a HEAD would be one: it says nothing of locks to who may not read them, and nothing at all of an
 * object that is encrypted with a key of the caller's.
 *
 * @throws ConfigError when the credentials may not read locks: a version that looks free would be planned as erased
 */
export async function lockOf(remote: Remote, { key, versionId }: Entry): Promise<Lock | undefined> {
  const target = {
    Bucket: remote.bucket,
    Key: key,
    ...(versionId === undefined ? {} : { VersionId: versionId }),
  };
  const [hold, retention] = await Promise.all([
    remote.send(new GetObjectLegalHoldCommand(target)).catch(none),
    remote.send(new GetObjectRetentionCommand(target)).catch(none),
  ]);
  const legalHold = hold?.LegalHold?.Status === 'ON';
  const { Mode: mode = 'unknown', RetainUntilDate: until } = retention?.Retention ?? {};
  const retained = until !== undefined && until.getTime() > Date.now();
  if (!legalHold && !retained) return undefined;
  return { legalHold, ...(retained ? { retention: { mode, until } } : {}) };
}

/** As {@link lockOf}, in words. While there is a legal hold nobody knows until when. */
export async function holdOf(remote: Remote, entry: Entry): Promise<Hold | undefined> {
  const lock = await lockOf(remote, entry);
  if (lock === undefined) return undefined;
  const { legalHold, retention } = lock;
  const retained = retention === undefined ? '' : `retention (${retention.mode} mode)`;
  if (legalHold) return { why: retained === '' ? 'legal hold' : `legal hold and ${retained}` };
  return { why: retained, ...(retention === undefined ? {} : { until: retention.until.toISOString() }) };
}

// The bucket knows no locks, the version has none, or is gone meanwhile.
const NONE: ReadonlySet<string> = new Set([
  'InvalidRequest',
  'NoSuchKey',
  'NoSuchObjectLockConfiguration',
  'NoSuchVersion',
  'NotFound',
  'ObjectLockConfigurationNotFoundError',
]);

function none(error: unknown): undefined {
  const name = error instanceof Error ? error.name : '';
  if (NONE.has(name)) return undefined;
  if (name !== 'AccessDenied') throw error;
  throw new ConfigError({
    surface: 'storage',
    operation: 'locks',
    problem: 'the credentials may not read which objects are under a legal hold or a retention period',
    hint: 'Give the credentials of this client the rights s3:GetObjectLegalHold and s3:GetObjectRetention.',
    cause: error,
  });
}

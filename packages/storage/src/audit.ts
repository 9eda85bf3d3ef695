import { acrossTenants, currentScope, runInScope, type Auditor, type Finding } from '@tenantkit/core';
import { z } from 'zod';
import type { S3Client } from './client.ts';
import { acceptedBucket } from './erase.ts';
import { keyProblem, shown } from './grammar.ts';
import { pagesOf } from './listing.ts';

import { parseArgument } from './options.ts';

/** What is audited, and under which name. */
export interface StorageAuditorOptions {
  /** One of the client's accepted buckets. */
  readonly bucket: string;
  /** The name in findings, default `storage:<bucket>`. */
  readonly store?: string | undefined;
}

const optionsSchema: z.ZodType<StorageAuditorOptions> = z.strictObject({
  bucket: z.string(),
  store: z.string().min(1).optional(),
});

/** What all names of tenantkit's own begin with; no tenant's prefix can. */
const RESERVED = 'tk!';

/** What a verification plants and removes; see `controlTenant` of core. */
const CONTROL = /^tk-control-[0-9a-f]{32}$/;

/**
 * Looks through a bucket for objects that lie outside of every tenant's prefix and for keys inside one that no
 * tenant can address. Reads only. Today it looks at current objects: not at earlier versions, ACLs or policies.
 *
 * @param client - an S3Client of this package; its credentials need to list the bucket
 * @throws ConfigError when the bucket is not an accepted one of the client
 *
 * @example
 * ```ts
 * import { S3Client, storageAuditor } from '@tenantkit/storage';
 * const s3 = new S3Client({ region: 'eu-central-1', tenant: { buckets: ['uploads'] } });
 * for await (const finding of storageAuditor(s3, { bucket: 'uploads' }).audit(AbortSignal.timeout(60_000))) {
 *   console.log(finding.severity, finding.name, finding.message);
 * }
 * ```
 */
export function storageAuditor(client: S3Client, options: StorageAuditorOptions): Auditor {
  const { bucket, store = `storage:${options.bucket}` } = parseArgument(
    'storageAuditor',
    optionsSchema,
    options,
  );
  const { names } = acceptedBucket(client, bucket, 'storageAuditor');

  const examine = (key: string): Finding | undefined => {
    const name = shown(key);
    const tenant = names.tenantOf(key);
    if (tenant === undefined) {
      return key.startsWith(RESERVED) ? undefined : { store, name, ...OUTSIDE };
    }
    if (CONTROL.test(tenant)) return { store, name, ...CONTROL_LEFT };
    const prefix = names.prefix(tenant);
    const problem = keyProblem(key.slice(prefix.length), { prefix });
    return problem === undefined
      ? undefined
      : { store, name, ...UNADDRESSABLE, message: `No tenant can address this object: ${problem.why}.` };
  };

  return {
    store,
    async *audit(signal) {
      signal.throwIfAborted();
      const bypass = { reason: `audit of ${store}`, actor: 'tenantkit auditor' };
      // A generator runs in the context of whoever asks for the next finding: the bypass is entered (and
      // published) once and then put around each page.
      const scope = acrossTenants(bypass, currentScope);
      const pages = pagesOf(client, { bucket, prefix: '', versioned: false }, signal);
      for (;;) {
        const page = await runInScope(scope, () => pages.next());
        if (page.done === true) return;
        for (const { key } of page.value) {
          const finding = examine(key);
          if (finding !== undefined) yield finding;
        }
      }
    },
  };
}

const OUTSIDE = {
  severity: 'medium',
  code: 'outside_tenants',
  message: 'This object belongs to no tenant: no tenant can reach it, and no erasure will find it.',
  hint: "Move it under its tenant's prefix, or to a bucket that no tenant works in.",
} as const;

const UNADDRESSABLE = {
  severity: 'high',
  code: 'refused_name',
  hint: 'Copy it to a key of the accepted form with the raw client, then delete it; a server that resolves such keys may hand it to another tenant.',
} as const;

const CONTROL_LEFT = {
  severity: 'low',
  code: 'control_left',
  message: 'This object was planted by a verification that did not end.',
  hint: 'Delete it with the raw client.',
} as const;

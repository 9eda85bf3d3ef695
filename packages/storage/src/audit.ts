import {
  acrossTenants,
  auditSignal,
  currentScope,
  runInScope,
  type Auditor,
  type Finding,
} from '@tenantkit/core';
import { z } from 'zod';
import type { S3Client } from './client.ts';
import type { Engine } from './engine.ts';
import { keyProblem, shown } from './grammar.ts';
import { pagesOf } from './listing.ts';
import { parseArgument } from './options.ts';
import { Remote, acceptedBucket, type RemoteOptions } from './remote.ts';

/** What is audited, and under which name. */
export interface StorageAuditorOptions extends RemoteOptions {
  /** One of the client's accepted buckets. */
  readonly bucket: string;
  /** The name in findings, default `storage:<bucket>`. */
  readonly store?: string | undefined;
}

const optionsSchema: z.ZodType<StorageAuditorOptions> = z.strictObject({
  bucket: z.string(),
  store: z.string().min(1).optional(),
  timeout: z.int().positive().optional(),
});

const FINDINGS = {
  outside_every_tenant: {
    severity: 'high',
    message: 'An object belongs to no tenant: no tenant can reach it, and no erasure finds it.',
    hint: "Find out who writes past @tenantkit/storage; move it under its tenant's prefix, or to another bucket.",
  },
  unknown_reserved_name: {
    severity: 'medium',
    message: 'A key begins with tk!, which is reserved, and is none that this version writes.',
    hint: 'Remove it, unless a newer version of tenantkit shares this bucket.',
  },
  erased_tenant: {
    severity: 'critical',
    message: 'An object belongs to a tenant that was erased.',
    hint: 'Find out who still writes for that tenant, then run its erasure again.',
  },
  refused_name: {
    severity: 'high',
    message: 'An object has a key that no tenant can address.',
    hint: 'Copy it to a key of the accepted form with the raw client, then delete it: a server that resolves such keys may hand it to another tenant.',
  },
  control_left: {
    severity: 'low',
    message: 'An object was planted by a verification that did not end.',
    hint: 'Delete it with the raw client.',
  },
} as const satisfies Record<string, Pick<Finding, 'severity' | 'message' | 'hint'>>;

/** What all names of tenantkit's own begin with; no tenant's prefix can. */
const RESERVED = 'tk!';

/** What a verification plants and removes; see `controlTenant` of core. */
const CONTROL = /^tk-control-[0-9a-f]{32}$/;

/**
 * Looks through a bucket for objects that lie outside of every tenant's prefix, for keys inside one that no tenant
 * can address and, when the client has a fence, for objects of erased tenants. Reads only. Today it looks at current
 * objects: not at earlier versions, ACLs or policies.
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
  const parsed = parseArgument('storageAuditor', optionsSchema, options);
  const { bucket, store = `storage:${bucket}`, timeout } = parsed;
  const engine = acceptedBucket(client, bucket, 'storageAuditor');
  return {
    store,
    async *audit(given) {
      const signal = auditSignal('storage', 'storageAuditor.audit', given);
      signal.throwIfAborted();
      const remote = new Remote(client, bucket, { operation: 'audit', timeout, signal });
      // A generator runs in the context of whoever asks for the next finding: the bypass is entered (and
      // published) once and then put around each page.
      const bypass = { reason: `audit of ${store}`, actor: 'tenantkit/storageAuditor' };
      const scope = acrossTenants(bypass, currentScope);
      const pages = pagesOf(remote, { prefix: '', versioned: false });
      for (;;) {
        const page = await runInScope(scope, () => pages.next());
        if (page.done === true) return;
        for (const { key } of page.value) {
          const code = codeOf(key, engine);
          if (code !== undefined) yield { store, code, name: shown(key), ...FINDINGS[code] };
        }
      }
    },
  };
}

function codeOf(key: string, { names, fence }: Engine): keyof typeof FINDINGS | undefined {
  if (key.startsWith(RESERVED)) return 'unknown_reserved_name';
  const tenant = names.tenantOf(key);
  if (tenant === undefined) return 'outside_every_tenant';
  if (CONTROL.test(tenant)) return 'control_left';
  if (fence?.state(tenant) === 'erased') return 'erased_tenant';
  const prefix = names.prefix(tenant);
  return keyProblem(key.slice(prefix.length), { prefix }) === undefined ? undefined : 'refused_name';
}

import { randomUUID } from 'node:crypto';
import { channel, type Channel } from 'node:diagnostics_channel';
import type { Surface } from './errors.ts';

/** The four kinds of audit event; each has the diagnostics channel `tenantkit:<kind>`. */
export type AuditKind = 'refused' | 'bypass' | 'breach' | 'erasure';

/**
 * OCSF API Activity (class 6003), the part of it that tenantkit can fill in.
 * Source: https://schema.ocsf.io/classes/api_activity
 */
export interface ApiActivity {
  readonly class_uid: 6003;
  readonly category_uid: 6;
  /** 1 create, 2 read, 3 update, 4 delete, 99 other. */
  readonly activity_id: 1 | 2 | 3 | 4 | 99;
  readonly type_uid: number;
  /** Milliseconds since the epoch. */
  readonly time: number;
  /** 1 informational, 4 high, 5 critical. */
  readonly severity_id: 1 | 4 | 5;
  /** 1 success, 2 failure (a refusal is a failure of the call). */
  readonly status_id: 1 | 2;
  readonly message: string;
  readonly actor: { readonly user: { readonly name: string } };
  readonly api: { readonly operation: string; readonly service: { readonly name: string } };
  readonly metadata: {
    readonly version: '1.3.0';
    readonly product: { readonly name: 'tenantkit'; readonly vendor_name: 'tenantkit' };
  };
  /** What else is known, in logical names, but for `name`: where an operator finds it in the store. */
  readonly unmapped?: Readonly<Record<string, unknown>>;
}

/** CloudEvents 1.0 envelope with the extension attribute `tenantid`. Source: https://cloudevents.io */
export interface AuditEvent {
  readonly specversion: '1.0';
  readonly id: string;
  readonly source: string;
  readonly type: `tenantkit.${AuditKind}`;
  /** RFC 3339. */
  readonly time: string;
  readonly datacontenttype: 'application/json';
  readonly tenantid?: string;
  readonly data: ApiActivity;
}

/** What an adapter knows when it publishes an event. */
export interface AuditDetails {
  readonly surface: Surface;
  readonly operation: string;
  readonly message: string;
  readonly tenant?: string | undefined;
  readonly actor?: string | undefined;
  readonly extra?: Readonly<Record<string, unknown>>;
}

/**
 * The channels of the audit trail.
 *
 * @example
 * ```ts
 * import { auditChannels } from '@tenantkit/core';
 * import pino from 'pino';
 * const log = pino();
 * auditChannels.refused.subscribe((event) => log.warn(event));
 * ```
 */
export const auditChannels: Readonly<Record<AuditKind, Channel<unknown, AuditEvent>>> = Object.freeze({
  refused: channel('tenantkit:refused'),
  bypass: channel('tenantkit:bypass'),
  breach: channel('tenantkit:breach'),
  erasure: channel('tenantkit:erasure'),
}) as Readonly<Record<AuditKind, Channel<unknown, AuditEvent>>>;

const SHAPE = {
  refused: { activity_id: 99, severity_id: 4, status_id: 2 },
  bypass: { activity_id: 99, severity_id: 4, status_id: 1 },
  breach: { activity_id: 2, severity_id: 5, status_id: 2 },
  erasure: { activity_id: 4, severity_id: 1, status_id: 1 },
} as const satisfies Record<AuditKind, Pick<ApiActivity, 'activity_id' | 'severity_id' | 'status_id'>>;

/** Publishes one audit event. Costs a property read when nobody listens. */
export function publish(kind: AuditKind, details: AuditDetails): void {
  const target = auditChannels[kind];
  if (target.hasSubscribers) target.publish(toEvent(kind, details));
}

function toEvent(
  kind: AuditKind,
  { surface, operation, message, tenant, actor, extra }: AuditDetails,
): AuditEvent {
  const now = new Date();
  const shape = SHAPE[kind];
  return {
    specversion: '1.0',
    id: randomUUID(),
    source: `tenantkit/${surface}`,
    type: `tenantkit.${kind}`,
    time: now.toISOString(),
    datacontenttype: 'application/json',
    ...(tenant === undefined ? {} : { tenantid: tenant }),
    data: {
      class_uid: 6003,
      category_uid: 6,
      ...shape,
      type_uid: 6003 * 100 + shape.activity_id,
      time: now.getTime(),
      message,
      actor: { user: { name: actor ?? 'unknown' } },
      api: { operation, service: { name: surface } },
      metadata: { version: '1.3.0', product: { name: 'tenantkit', vendor_name: 'tenantkit' } },
      ...(extra === undefined ? {} : { unmapped: extra }),
    },
  };
}

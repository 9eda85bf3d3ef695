import { describe, expect, it } from 'vitest';
import {
  acrossTenants,
  auditChannels,
  breach,
  refusal,
  requireTenant,
  withTenant,
  type AuditEvent,
  type AuditKind,
} from '../src/index.ts';

function record(kind: AuditKind, run: () => void): AuditEvent[] {
  const events: AuditEvent[] = [];
  const listen = (event: unknown): void => {
    events.push(event as AuditEvent);
  };
  auditChannels[kind].subscribe(listen);
  try {
    run();
  } finally {
    auditChannels[kind].unsubscribe(listen);
  }
  return events;
}

describe('audit events', () => {
  it('a call without a tenant is one refused event', () => {
    const events = record('refused', () =>
      expect(() => requireTenant({ surface: 'cache', operation: 'get' })).toThrow('No tenant'),
    );
    expect(events).toHaveLength(1);
    expect(events[0]).toMatchObject({
      specversion: '1.0',
      type: 'tenantkit.refused',
      source: 'tenantkit/cache',
      data: {
        class_uid: 6003,
        category_uid: 6,
        type_uid: 600399,
        status_id: 2,
        api: { operation: 'get', service: { name: 'cache' } },
      },
    });
    expect(events[0]).not.toHaveProperty('tenantid');
    expect(Date.parse(events[0]?.time ?? '')).toBe(events[0]?.data.time);
  });

  it('a refused operation is one refused event of its tenant and actor', () => {
    const events = record('refused', () => {
      withTenant({ tenant: 'acme', actor: 'api' }, () => refusal('cache', 'flushall'));
    });
    expect(events).toMatchObject([
      { tenantid: 'acme', data: { actor: { user: { name: 'api' } }, api: { operation: 'flushall' } } },
    ]);
  });

  it('a switch of tenants is one refused event of the tenant that tried', () => {
    const events = record('refused', () => {
      withTenant('acme', () => expect(() => withTenant('acme2', () => 'entered')).toThrow('another'));
    });
    expect(events).toMatchObject([{ tenantid: 'acme' }]);
    expect(JSON.stringify(events)).not.toContain('acme2');
  });

  it('a bypass is one bypass event with reason and actor', () => {
    const events = record('bypass', () =>
      acrossTenants({ reason: 'capacity report', actor: 'ops' }, () => undefined),
    );
    expect(events).toMatchObject([
      { data: { message: 'capacity report', actor: { user: { name: 'ops' } }, status_id: 1 } },
    ]);
  });

  it('a breach is one breach event of the highest severity', () => {
    const events = record(
      'breach',
      () => void breach('search', 'search', 'a foreign document came back', 'acme'),
    );
    expect(events).toMatchObject([{ tenantid: 'acme', data: { severity_id: 5 } }]);
  });

  it('every event has an id of its own', () => {
    const events = record('bypass', () => {
      acrossTenants({ reason: 'one', actor: 'ops' }, () => undefined);
      acrossTenants({ reason: 'two', actor: 'ops' }, () => undefined);
    });
    expect(new Set(events.map(({ id }) => id)).size).toBe(2);
  });
});

import { Redis, type CachePlacement } from '@tenantkit/cache';
import { describe, expect, it } from 'vitest';

/** A client that connects nowhere, and tells where each tenant is. */
function placed(place: (tenant: string) => CachePlacement): Redis & Disposable {
  const client = new Redis({ lazyConnect: true, tenant: { place } });
  return Object.assign(client, { [Symbol.dispose]: () => client.disconnect() });
}

describe('the clients of silos', () => {
  it('are one per place, and not one per answer', () => {
    using client = placed((tenant) => ({
      level: 'silo',
      options: {
        host: 'silo.internal',
        tls: { ca: Buffer.from(tenant === 'acme' ? 'one' : 'two') },
        ...(tenant === 'a' ? { username: 'a' } : {}),
      },
    }));
    const of = (tenant: string): Redis => client.clientOf(tenant);
    // At the same address: by its authority, and by the user.
    expect(new Set(['acme', 'acme2', 'a'].map(of)).size).toBe(3);
    expect(of('ac')).toBe(of('acme2'));
    expect(of('acme')).toBe(of('acme'));
  });

  it('are found among many, and made anew after they have ended', () => {
    using client = placed((tenant) => ({ level: 'silo', url: `redis://${tenant}.internal:6379` }));
    const tenants = Array.from({ length: 300 }, (_, n) => `t${n}`);
    const clients = tenants.map((tenant) => client.clientOf(tenant));
    expect(new Set(clients).size).toBe(tenants.length);
    expect(tenants.map((tenant) => client.clientOf(tenant))).toEqual(clients);
    expect(clients.map(({ options: { host } }) => host)).toEqual(
      tenants.map((tenant) => `${tenant}.internal`),
    );
    const [first] = clients;
    first?.disconnect();
    expect(client.clientOf('t0')).not.toBe(first);
    expect(client.clientOf('t1')).toBe(clients[1]);
  });
});

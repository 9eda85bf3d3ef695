import { Redis } from '@tenantkit/cache';
import { describe, expect, it } from 'vitest';
import { confineOptions } from '../src/options-lock.ts';
import { asPlumbing, isPlumbing } from '../src/plumbing.ts';
import { acme } from './support.ts';

describe('options that a caller has given', () => {
  it('are copied as deep as they are plain, inherited ones too, and cannot be changed through the copy', () => {
    const nodes = [{ host: 'a' }, { host: 'b' }];
    const tls = { servername: 'x', ca: ['one'] };
    const given = Object.create({ db: 3 }) as Record<string, unknown>;
    Object.assign(given, { nodes, tls });
    const copy = confineOptions(given) as unknown as { db: number; nodes: typeof nodes; tls: typeof tls };
    expect(copy).toEqual({
      db: 3,
      nodes: [{ host: 'a' }, { host: 'b' }],
      tls: { servername: 'x', ca: ['one'] },
    });
    nodes.push({ host: 'c' });
    Object.assign(nodes[0] ?? {}, { host: 'changed' });
    Object.assign(tls, { servername: 'changed' });
    tls.ca.push('two');
    expect([copy.nodes, copy.tls]).toEqual([
      [{ host: 'a' }, { host: 'b' }],
      { servername: 'x', ca: ['one'] },
    ]);
    for (const part of [copy.nodes, copy.nodes[0], copy.tls, copy.tls.ca])
      expect(Object.isFrozen(part)).toBe(true);
    const list = [{ host: 'a' }];
    const own = confineOptions(list);
    expect(own).not.toBe(list);
    expect([Object.isFrozen(own), Object.isFrozen(own[0])]).toEqual([true, true]);
  });

  it('are left as they are where they are no plain data: a Connector, what is ours, bytes', () => {
    class Connector {
      readonly isMine = true;
    }
    const tenant = { place: () => undefined };
    const bytes = Buffer.from('x');
    const copy = confineOptions({ Connector, tenant, tls: { key: bytes } });
    expect(copy.Connector).toBe(Connector);
    expect(copy.tenant).toBe(tenant);
    expect(copy.tls.key).toBe(bytes);
  });

  it('run what is a function outside of ioredis’s own work, however deep it stands', () => {
    const seen: boolean[] = [];
    const note = (): unknown => seen.push(isPlumbing());
    const copy = confineOptions({ retryStrategy: note, tls: { checkServerIdentity: note }, list: [note] });
    acme(() =>
      asPlumbing(() => [copy.retryStrategy(), copy.tls.checkServerIdentity(), copy.list.map((fn) => fn())]),
    );
    expect(seen).toEqual([false, false, false]);
  });
});

describe('the options of a client', () => {
  it('are written by ioredis alone, and only what it has to', () => {
    const redis = new Redis({ lazyConnect: true });
    const { options } = redis;
    for (const [name, value] of Object.entries({ host: 'b', port: 7, readOnly: true })) {
      expect(() => Reflect.set(options, name, value) || Object.assign(options, { [name]: value })).toThrow(
        TypeError,
      );
      asPlumbing(() => Object.assign(options, { [name]: value }));
      expect(Reflect.get(options, name)).toBe(value);
    }
    expect(() => asPlumbing(() => Object.assign(options, { db: 7 }))).toThrow(TypeError);
    redis.disconnect();
  });

  it('hold a list of commands that nobody can make another one, for this client or for all', () => {
    const redis = new Redis({ lazyConnect: true, autoPipeliningIgnoredCommands: ['ping'] });
    const list = redis.options.autoPipeliningIgnoredCommands ?? [];
    expect(() => list.push('get')).toThrow(TypeError);
    const shared: unknown = Object.getPrototypeOf(list);
    expect(shared).not.toBe(Array.prototype);
    expect(() => Object.assign(shared as object, { includes: () => false })).toThrow(TypeError);
    redis.disconnect();
  });

  it.each([
    [{ wait: 2 ** 31 }, /wait/],
    [{ idle: 2 ** 31 }, /idle/],
    [{ perTenant: 0 }, /perTenant/],
    [{ perTenant: -1 }, /perTenant/],
    [{ perTenant: 1.5 }, /perTenant/],
  ])('of the lent connections cannot be %j', (dedicated, problem) => {
    expect(() => new Redis({ lazyConnect: true, tenant: { dedicated } })).toThrow(problem);
    const fine = new Redis({ lazyConnect: true, tenant: { dedicated: { wait: 2 ** 31 - 1, perTenant: 1 } } });
    fine.disconnect();
  });
});

import { Redis, type CacheOptions, type CachePlacement, type RedisOptions } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';

type Node = Awaited<ReturnType<typeof startRedisNode>>;

/** Three servers: the pool, the silo of `acme2` and the silo of `a`. The other tenants are in the pool. */
export interface Places extends AsyncDisposable {
  readonly nodes: Readonly<Record<Name, Node>>;
  /** Plain ioredis on each, as the witness. */
  readonly raw: Readonly<Record<Name, Raw>>;
  readonly place: (tenant: string) => CachePlacement;
  /** A guarded client of the pool that knows the silos. */
  open(options?: RedisOptions, tenant?: CacheOptions): Redis;
  /** Empties all servers, and gives every tenant the same keys where it is. */
  fill(): Promise<void>;
  /** Ends the clients that {@link Places.open} has made. */
  disconnect(): void;
}

export type Name = 'pool' | 'acme2' | 'a';

/** The constructors of ioredis infer the form of replies from this option. */
type Plain<O> = O & { replyMapping?: 'legacy' };

export async function openPlaces(): Promise<Places> {
  const settings = { 'notify-keyspace-events': 'KEA' };
  const [pool, acme2, a] = await Promise.all([1, 2, 3].map(() => startRedisNode({ settings })));
  if (pool === undefined || acme2 === undefined || a === undefined) throw new TypeError('three were started');
  const nodes = { pool, acme2, a };
  const raw = { pool: new Raw(pool.url), acme2: new Raw(acme2.url), a: new Raw(a.url) };
  let clients: Redis[] = [];
  const place = (tenant: string): CachePlacement =>
    tenant === 'acme2'
      ? { level: 'silo', url: acme2.url }
      : tenant === 'a'
        ? { level: 'silo', options: { host: '127.0.0.1', port: a.port } }
        : { level: 'pool' };
  const disconnect = (): void => {
    for (const client of clients) client.disconnect();
    clients = [];
  };
  return {
    nodes,
    raw,
    place,
    open(options = {}, tenant = {}) {
      const client = new Redis(pool.url, { ...options, tenant: { place, ...tenant } } as Plain<RedisOptions>);
      clients.push(client);
      return client;
    },
    async fill() {
      for (const one of Object.values(raw)) await one.flushall();
      for (const tenant of TENANTS) {
        const own = tenant === 'acme2' || tenant === 'a' ? raw[tenant] : raw.pool;
        await own.set(`tk:${tenant}:key`, `of ${tenant}`);
      }
    },
    disconnect,
    async [Symbol.asyncDispose]() {
      disconnect();
      for (const one of Object.values(raw)) one.disconnect();
      await Promise.all(Object.values(nodes).map((node) => node.stop()));
    },
  };
}

/** The physical keys of each server, in order. */
export async function keysOf({ raw }: Places): Promise<Record<Name, string[]>> {
  const [pool, acme2, a] = await Promise.all([raw.pool, raw.acme2, raw.a].map((one) => one.keys('*')));
  return { pool: pool?.sort() ?? [], acme2: acme2?.sort() ?? [], a: a?.sort() ?? [] };
}

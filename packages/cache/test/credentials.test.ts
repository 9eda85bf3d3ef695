import { Cluster, Redis, type CachePlacement, type RedisOptions } from '@tenantkit/cache';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startClusterNodes } from './cluster-nodes.ts';
import { asPlumbing } from '../src/plumbing.ts';
import { acme, acme2, failure, operator, ready, shown } from './support.ts';

type Node = Awaited<ReturnType<typeof startRedisNode>>;

const RULES = ['~*', '&*', '+@all'] as const;
const refused = expect.objectContaining({
  code: 'OPERATION_REFUSED',
  instead: expect.stringContaining('redis.options.password') as string,
});

let node: Node;
let raw: Raw;
let clients: { disconnect(): void }[] = [];
beforeAll(async () => {
  node = await startRedisNode();
  raw = new Raw(node.url);
});
afterAll(async () => {
  raw.disconnect();
  await node.stop();
});
beforeEach(async () => {
  await raw.flushall();
  await token('token1');
  await raw.set('tk:acme:key', 'of acme');
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});

/** What the server takes from now on, and nothing else. */
const token = (password: string, server = raw): Promise<unknown> =>
  server.acl('SETUSER', 'app', 'reset', 'on', `>${password}`, ...RULES);

/** Cuts every connection of the user, and resolves when the clients have connected again. */
async function cut(own: readonly Redis[]): Promise<void> {
  const back = own.map((client) => once(client, 'ready'));
  await raw.client('KILL', 'USER', 'app');
  await Promise.all(back);
}

/** Resolves when somebody hears what is published. */
async function heardBy(heard: readonly string[], channel: string, server = raw): Promise<void> {
  const before = heard.length;
  await expect
    .poll(async () => {
      await server.publish(channel, 'again');
      return heard.length;
    })
    .toBeGreaterThan(before);
}

function open(options: RedisOptions = {}): Redis {
  const own: RedisOptions = {
    port: node.port,
    username: 'app',
    password: 'token1',
    retryStrategy: () => 10,
    ...options,
  };
  const client = new Redis(own as RedisOptions & { replyMapping?: 'legacy' });
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

describe('a password that changes', () => {
  it.each([{}, { protocol: 2 }, { enableOfflineQueue: false }] as RedisOptions[])(
    'is written by the service, and read by whatever connects next: %j',
    async (options) => {
      const client = open(options);
      await ready(client);
      const all = client.duplicate();
      const own = acme(() => client.duplicate());
      clients.push(all, own);
      for (const copy of [all, own]) copy.on('error', () => undefined);
      const heard: string[] = [];
      acme(() => client.on('message', (_, message) => heard.push(message)));
      await acme(() => client.subscribe('news'));
      await acme(() => client.dedicated((lent) => lent.ping()));
      await Promise.all([ready(all), ready(own)]);
      await token('token2');
      client.options.password = 'token2';
      expect([client, all, own].map(({ options: { password } }) => password)).toEqual(
        Array.from({ length: 3 }, () => 'token2'),
      );
      await cut([client, all, own]);
      expect(await acme(() => client.get('key'))).toBe('of acme');
      expect(await acme(() => all.get('key'))).toBe('of acme');
      expect(await acme(() => own.get('key'))).toBe('of acme');
      expect(await acme(() => client.dedicated((lent) => lent.get('key')))).toBe('of acme');
      const late = [
        acme(() => client.duplicate()),
        await acme(() => client.dedicated((lent) => lent.duplicate())),
      ];
      clients.push(...late);
      for (const copy of late) expect(copy.options.password).toBe('token2');
      for (const copy of late) {
        await ready(copy);
        expect(await acme(() => copy.get('key'))).toBe('of acme');
      }
      await heardBy(heard, 'tk:acme:news');
    },
  );

  it('may be written by the functions of the options, which ioredis calls when it is cut', async () => {
    const client: Redis = open({
      retryStrategy() {
        client.options.password = 'token2';
        return 10;
      },
    });
    await ready(client);
    await token('token2');
    await cut([client]);
    expect(await acme(() => client.get('key'))).toBe('of acme');
  });

  it.each([3, 2] as const)(
    'that comes while a connection is being set up ends no handshake: RESP%d',
    async (protocol) => {
      await raw.acl('SETUSER', 'app', '>token2');
      const client = open({ lazyConnect: true, protocol });
      const connecting = client.connect();
      // ioredis has read the former one by now.
      client.options.password = 'token2';
      await connecting;
      expect(await acme(() => client.get('key'))).toBe('of acme');
      await token('token2');
      await cut([client]);
      expect(await acme(() => client.get('key'))).toBe('of acme');
    },
  );

  it('is read with the name of the user', async () => {
    await raw.acl('SETUSER', 'other', 'reset', 'on', '>token3', ...RULES);
    const client = open();
    await ready(client);
    client.options.username = 'other';
    client.options.password = 'token3';
    await cut([client]);
    expect(await operator(() => client.acl('WHOAMI'))).toBe('other');
    await raw.acl('DELUSER', 'other');
  });

  it('is not followed by a duplicate with one of its own, nor by the client that was duplicated', () => {
    const client = open({ lazyConnect: true });
    const other = client.duplicate({ password: 'token1' });
    const follower = client.duplicate();
    clients.push(other, follower);
    client.options.password = 'token2';
    expect(other.options.password).toBe('token1');
    follower.options.password = 'token3';
    expect([client.options.password, follower.options.password]).toEqual(['token2', 'token3']);
    client.options.password = 'token4';
    expect(follower.options.password).toBe('token3');
  });

  it('is followed where a tenant has a database of its own', async () => {
    await raw.select(1);
    await raw.set('tk:acme2:key', 'of acme2');
    await raw.select(0);
    const place = (tenant: string): CachePlacement =>
      tenant === 'acme2' ? { level: 'bridge', db: 1 } : { level: 'pool' };
    const client = open({ tenant: { place } });
    expect(await acme2(() => client.get('key'))).toBe('of acme2');
    const bridge = client.clientOf('acme2');
    await token('token2');
    client.options.password = 'token2';
    await cut([client, bridge]);
    expect(await acme2(() => client.get('key'))).toBe('of acme2');
  });
});

describe('a password of a silo that changes', () => {
  const forms = {
    options: (password: string) => ({ options: { port: node.port, username: 'app', password } }),
    url: (password: string) => ({ url: `redis://app:${password}@localhost:${node.port}` }),
  };
  it.each(['options', 'url'] as const)('is what place answers then, in its %s', async (form) => {
    let password = 'token1';
    const client = open({
      tenant: {
        place: (tenant) =>
          tenant === 'acme' ? { level: 'silo', ...forms[form](password) } : { level: 'pool' },
      },
    });
    await ready(client);
    const silo = client.clientOf('acme');
    await ready(silo);
    // Nothing of the shared server goes there.
    client.options.password = 'token3';
    expect(silo.options.password).toBe('token1');
    password = 'token2';
    await token('token2');
    // What is kept of the answer is asked for anew within a second.
    await expect.poll(() => client.clientOf('acme').options.password, { timeout: 5000 }).toBe('token2');
    expect(client.clientOf('acme')).toBe(silo);
    await cut([silo]);
    expect(await acme(() => client.get('key'))).toBe('of acme');
  });

  it('is not that of another user, who has another client', async () => {
    await raw.acl('SETUSER', 'other', 'reset', 'on', '>token1', ...RULES);
    const urls: Record<string, string> = {
      acme: `redis://app:token1@localhost:${node.port}`,
      acme2: `redis://other:token1@localhost:${node.port}`,
      // The address names no user but has a password, so it is the default user, whatever stands beside it.
      a: `redis://:nothing@localhost:${node.port}`,
    };
    const client = open({
      tenant: {
        place: (tenant) => ({
          level: 'silo',
          url: urls[tenant],
          options: { username: 'app', password: 'token1' },
        }),
      },
    });
    const users = ['acme', 'acme2', 'a', 'ac'].map((tenant) =>
      tenant === 'ac'
        ? failure(() => client.clientOf(tenant))
        : operator(() => client.clientOf(tenant).acl('WHOAMI')),
    );
    urls['ac'] = `redis://localhost:${node.port}`;
    const app = operator(() => client.clientOf('ac').acl('WHOAMI'));
    expect(await Promise.all(users)).toEqual(['app', 'other', 'default', expect.any(Error)]);
    expect(await app).toBe('app');
    await raw.acl('DELUSER', 'other');
  });
});

describe('inside a tenant', () => {
  it('as whom the client connects is neither written nor read', async () => {
    const client = open();
    await ready(client);
    const own = acme(() => client.duplicate());
    clients.push(own);
    await ready(own);
    for (const one of [client, own])
      for (const name of ['username', 'password'] as const) {
        const before = one.options[name] as string;
        expect(before).toBe(name === 'username' ? 'app' : 'token1');
        const error = await acme(() => failure(() => (one.options[name] = 'mine')));
        expect(error).toMatchObject({ code: 'OPERATION_REFUSED', operation: `options.${name}` });
        expect(error.message).not.toContain('token1');
        const derived = Object.create(one.options) as object;
        expect(await acme(() => failure(() => Reflect.set(derived, name, 'mine')))).toMatchObject({
          code: 'OPERATION_REFUSED',
        });
        expect(Reflect.deleteProperty(one.options, name)).toBe(false);
        expect(Reflect.defineProperty(one.options, name, { value: 'mine' })).toBe(false);
        expect(one.options[name]).toBe(before);
        expect(acme(() => one.options[name])).toBeUndefined();
        expect(acme(() => ({ ...one.options })[name])).toBeUndefined();
      }
    const seen = await acme(() =>
      client.dedicated((lent) => [client, own, lent].map((one) => shown(shownOf(one)))),
    );
    for (const one of seen) expect(one).not.toContain('token1');
    expect(shown(operator(() => ({ ...client.options })))).toContain('token1');
  });

  it('an error of logging in does not tell with what', async () => {
    const client = open({ lazyConnect: true, maxRetriesPerRequest: 0, password: 'wrong-one' });
    const told: Error[] = [];
    client.on('error', (error) => told.push(error));
    const error = await acme(() => failure(() => client.get('key')));
    const lent = await acme(() => failure(() => client.dedicated((own) => own.ping())));
    const heard = await acme(() => failure(() => client.subscribe('news')));
    for (const one of [error, told, lent, heard]) {
      expect(shown(one)).toMatch(/WRONGPASS/);
      expect(shown(one)).not.toContain('wrong-one');
    }
  });

  it('nothing is written but texts, outside of ioredis’s own work', async () => {
    const client = open();
    for (const value of [7, {}, { toString: () => 'x' }])
      expect(await failure(() => Reflect.set(client.options, 'password', value))).toMatchObject({
        code: 'CONFIG_INVALID',
      });
    expect(() => {
      client.options.db = 1;
    }).toThrow(TypeError);
    expect(await failure(() => asPlumbing(() => (client.options.password = 'mine')))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    operator(() => (client.options.password = 'token2'));
    expect(client.options.password).toBe('token2');
    Reflect.set(client.options, 'password', null);
    expect(client.options.password).toBeNull();
  });
});

describe('AUTH', () => {
  it('is sent by the service with what the options say, so that no connection has to be cut', async () => {
    const client = open({ enableAutoPipelining: true });
    await ready(client);
    await raw.acl('SETUSER', 'app', '>token2');
    client.options.password = 'token2';
    expect(await client.auth('app', 'token2')).toBe('OK');
    expect(await client.call('AUTH', 'app', Buffer.from('token2'))).toBe('OK');
    expect(await operator(() => client.call('AUTH', 'app', 'token2'))).toBe('OK');
    await token('token3');
    const error = await failure(() => client.auth('app', 'token2'));
    expect(error.message).toMatch(/^WRONGPASS/);
    expect(shown(error)).not.toContain('token2');
  });

  it('with anything else, in a pipeline or inside a tenant, is refused, and nothing is sent', async () => {
    const client = open();
    await ready(client);
    const own = acme(() => client.duplicate());
    clients.push(own);
    await ready(own);
    const sent = client.stream.bytesWritten;
    for (const run of [<T>(fn: () => T): T => fn(), operator, acme]) {
      expect(await failure(() => run(() => client.auth('app', 'other')))).toEqual(refused);
      expect(await failure(() => run(() => client.auth('token1')))).toEqual(refused);
      expect(await failure(() => run(() => client.call('auth', 'app', 'token1', 'x')))).toEqual(refused);
      expect(await failure(() => run(() => client.call('auth')))).toEqual(refused);
    }
    for (const one of [client, own])
      expect(await failure(() => acme(() => one.auth('app', 'token1')))).toEqual(refused);
    expect(await acme(() => client.dedicated((lent) => failure(() => lent.auth('app', 'token1'))))).toEqual(
      refused,
    );
    expect(client.stream.bytesWritten).toBe(sent);
    for (const run of [operator, acme])
      expect(await run(() => client.pipeline().auth('app', 'token1').exec())).toEqual([[refused]]);
    expect(await operator(() => client.auth('app', 'token1'))).toBe('OK');
  });

  it('of a client without a password is refused', async () => {
    const nobody = new Redis({ port: node.port });
    clients.push(nobody);
    expect(await failure(() => nobody.auth(''))).toEqual(refused);
  });
});

describe('in a Cluster', () => {
  it('nodes read what is written into redisOptions, and so do the connections that hear messages', async () => {
    await using nodes = await startClusterNodes();
    await using stack = new AsyncDisposableStack();
    const witnesses = [nodes.first.raw, nodes.second.raw, nodes.replica.raw];
    for (const witness of witnesses) await token('token1', witness);
    const cluster = stack.adopt(
      new Cluster([{ host: '127.0.0.1', port: nodes.first.port }], {
        clusterRetryStrategy: () => 10,
        redisOptions: { username: 'app', password: 'token1' },
        tenant: { hashTag: true },
      }),
      (one) => one.disconnect(),
    );
    cluster.on('error', () => undefined);
    const copy = stack.adopt(cluster.duplicate(), (one) => one.disconnect());
    const own = stack.adopt(
      acme(() => cluster.duplicate()),
      (one) => one.disconnect(),
    );
    const heard: string[] = [];
    acme(() => cluster.on('message', (_, message) => heard.push(message)));
    await acme(() => cluster.subscribe('news'));
    await acme(() => cluster.ssubscribe('shard'));
    expect(await acme(() => cluster.set('key', 'x'))).toBe('OK');
    for (const one of [copy, own]) {
      one.on('error', () => undefined);
      expect(await acme(() => one.get('key'))).toBe('x');
    }
    const { redisOptions } = cluster.options;
    if (redisOptions === undefined) throw new TypeError('they were given');
    expect(await failure(() => acme(() => (redisOptions.password = 'mine')))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(acme(() => redisOptions.password)).toBeUndefined();
    const seen = acme(() =>
      [cluster, ...cluster.nodes()].map((one) => shown([shownOf(one), Reflect.get(one, 'connectionPool')])),
    );
    for (const one of seen) expect(one).not.toContain('token1');
    const [master] = cluster.nodes('master') as [Redis];
    expect(await master.auth('app', 'token1')).toBe('OK');
    expect(await failure(() => cluster.auth('app', 'token1'))).toEqual(refused);
    redisOptions.password = 'token2';
    expect(new Set(cluster.nodes().map(({ options }) => options.password))).toEqual(new Set(['token2']));
    for (const witness of witnesses) {
      await token('token2', witness);
      await witness.client('KILL', 'USER', 'app');
    }
    for (const one of [cluster, copy, own])
      await expect
        .poll(() => acme(() => one.get('key')).catch(() => undefined), { timeout: 10_000 })
        .toBe('x');
    expect(await acme(() => cluster.dedicated((lent) => lent.get('key')))).toBe('x');
    await heardBy(heard, 'tk:{acme}:news', nodes.first.raw);
  });

  it('a node with a login of its own keeps it', async () => {
    await using nodes = await startClusterNodes();
    const witnesses = [nodes.first.raw, nodes.second.raw, nodes.replica.raw];
    for (const witness of witnesses) await token('token1', witness);
    const start = { host: '127.0.0.1', port: nodes.first.port, username: 'app', password: 'token1' };
    const cluster = new Cluster([start], { redisOptions: { username: 'default' }, lazyConnect: true });
    try {
      await acme(() => cluster.set('key', 'x')).catch(() => undefined);
      const found = cluster.nodes().find(({ options: { port } }) => port === nodes.first.port);
      expect(found?.options.password).toBe('token1');
      (cluster.options.redisOptions as RedisOptions).password = 'token2';
      expect(found?.options.password).toBe('token1');
    } finally {
      cluster.disconnect();
    }
  });
});

/** What anybody finds on a client. */
function shownOf(client: object): unknown {
  return ['options', 'condition', 'connector'].map((name) => {
    const value: unknown = Reflect.get(client, name);
    return typeof value === 'object' ? { ...value } : value;
  });
}

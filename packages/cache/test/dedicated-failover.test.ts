import { Redis, type RedisOptions } from '@tenantkit/cache';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { proxyTo, type Proxy } from './proxy.ts';
import { acme, failure, ready } from './support.ts';

type Node = Awaited<ReturnType<typeof startRedisNode>>;

let nodes: readonly [Node, Node];
let former: Raw;
let next: Raw;
beforeAll(async () => {
  nodes = await Promise.all([startRedisNode(), startRedisNode()]);
  former = new Raw(nodes[0].url);
  next = new Raw(nodes[1].url);
});
afterAll(async () => {
  former.disconnect();
  next.disconnect();
  await Promise.all(nodes.map((node) => node.stop()));
});
beforeEach(async () => {
  for (const raw of [former, next]) {
    await raw.replicaof('NO', 'ONE');
    await raw.flushall();
  }
});

interface Behind extends Proxy {
  readonly client: Redis;
  /** The address is that of the next master from now on; the former one is a replica that nobody reaches. */
  failOver(): Promise<void>;
}

/** A client that knows one address, behind which masters change. */
async function behindOneAddress(options: RedisOptions): Promise<Behind> {
  const [{ port: first }, { port: second }] = nodes;
  const proxy = await proxyTo({ host: '127.0.0.1', port: first });
  const own: RedisOptions = {
    port: proxy.port,
    connectionName: 'behind',
    retryStrategy: () => 10,
    ...options,
  };
  const client = new Redis(own as RedisOptions & { replyMapping?: 'legacy' });
  client.on('error', () => undefined);
  await ready(client);
  return {
    ...proxy,
    client,
    async failOver() {
      await former.replicaof('127.0.0.1', 1);
      proxy.to({ host: '127.0.0.1', port: second });
    },
    async [Symbol.asyncDispose]() {
      client.disconnect();
      await proxy[Symbol.asyncDispose]();
    },
  };
}

// The recipe of ioredis for addresses that move: the command is sent again, on a new connection.
const reconnectOnError = (error: Error): 2 | false => (error.message.startsWith('READONLY') ? 2 : false);

describe('after a failover behind one address', () => {
  it('what was idle is lent no more: it would read what the former master has', async () => {
    await using behind = await behindOneAddress({ reconnectOnError, tenant: { dedicated: { max: 1 } } });
    const { client } = behind;
    await acme(() => client.dedicated((own) => own.set('balance', '100')));
    await behind.failOver();
    expect(await acme(() => client.set('balance', '5'))).toBe('OK');
    expect(await acme(() => client.dedicated((own) => own.get('balance')))).toBe('5');
    expect(await next.get('tk:acme:balance')).toBe('5');
  });

  it('what was lent meanwhile is not lent again', async () => {
    await using behind = await behindOneAddress({ reconnectOnError, tenant: { dedicated: { max: 1 } } });
    const { client } = behind;
    await acme(() =>
      client.dedicated(async (own) => {
        await own.set('balance', '100');
        await behind.failOver();
        expect(await client.set('balance', '5')).toBe('OK');
        // It is as it was lent.
        expect(await own.get('balance')).toBe('100');
      }),
    );
    expect(await acme(() => client.dedicated((own) => own.get('balance')))).toBe('5');
  });

  it.each([
    ['a command', (own: Redis) => own.set('key', 'x')],
    ['a pipeline', (own: Redis) => own.pipeline().get('key').set('key', 'x').exec()],
    ['a transaction', (own: Redis) => own.multi().set('key', 'x').exec()],
    [
      'a transaction that stays open',
      async (own: Redis) => {
        await own.multi({ pipeline: false });
        await failure(() => own.set('key', 'x'));
        return own.exec();
      },
    ],
  ])('READONLY for %s ends the connection, and those that are as old', async (_, write) => {
    // With two of them a loan waits until one is back, so each of these is lent again.
    await using behind = await behindOneAddress({ tenant: { dedicated: { max: 2, perTenant: 2 } } });
    const { client } = behind;
    const ping = () => client.dedicated((own) => own.ping());
    await acme(() => client.dedicated(ping));
    await behind.failOver();
    await acme(() =>
      client.dedicated(async (own) => {
        expect(await ping()).toBe('PONG');
        const error = await failure(async () => {
          const replies = (await write(own)) as [unknown, unknown][] | null;
          throw replies?.at(-1)?.[0] as Error;
        });
        expect(error.message).toMatch(/^(READONLY|EXECABORT)/);
        expect(await client.dedicated((another) => another.set('key', 'x'))).toBe('OK');
      }),
    );
    expect(await acme(() => client.dedicated((own) => own.set('key', 'y')))).toBe('OK');
    expect(await next.get('tk:acme:key')).toBe('y');
  });
});

/** The connections of the client to the former master. */
const lines = async (): Promise<string[]> =>
  String(await former.client('LIST'))
    .split('\n')
    .filter((line) => line.includes(' name=behind '));

const idsOf = (found: readonly string[]): number[] =>
  found.map((line) => Number(/^id=(\d+)/.exec(line)?.[1])).sort((a, b) => a - b);

describe('while the client has no connection', () => {
  // It connects when the test says so.
  const options: RedisOptions = { retryStrategy: () => 3_600_000, tenant: { dedicated: { max: 1 } } };
  const balance = (client: Redis): Promise<string | null> =>
    acme(() => client.dedicated((own) => own.get('balance')));
  async function cut({ client }: Behind): Promise<void> {
    const [shared] = idsOf(await lines());
    const gone = once(client, 'reconnecting');
    await former.client('KILL', 'ID', shared ?? 0);
    await gone;
  }
  beforeEach(async () => {
    await former.set('tk:acme:balance', '100');
    await next.set('tk:acme:balance', '5');
  });

  it('what was idle is lent no more', async () => {
    await using behind = await behindOneAddress(options);
    expect(await balance(behind.client)).toBe('100');
    await cut(behind);
    await behind.failOver();
    expect(await balance(behind.client)).toBe('5');
  });

  it('what was made then is lent no more once it has one', async () => {
    await using behind = await behindOneAddress(options);
    await cut(behind);
    expect(await balance(behind.client)).toBe('100');
    await behind.failOver();
    await behind.client.connect();
    expect(await balance(behind.client)).toBe('5');
  });
});

describe('an error that the client would answer with another connection', () => {
  it('ends the one that is lent, and no other error does', async () => {
    const asked: string[] = [];
    await using behind = await behindOneAddress({
      reconnectOnError({ message }) {
        asked.push(message);
        return message.startsWith('WRONGTYPE');
      },
      tenant: { dedicated: { max: 1 } },
    });
    const { client } = behind;
    // With one of them a loan waits until it is back.
    const lent = (): Promise<string | undefined> =>
      acme(() =>
        client.dedicated(async (own) => {
          expect(await own.get('text')).toBe('x');
          return (await lines())
            .map((line) => /^id=(\d+)/.exec(line)?.[1])
            .find((id) => id !== undefined && id !== shared);
        }),
      );
    const [shared] = (await lines()).map((line) => /^id=(\d+)/.exec(line)?.[1]);
    await acme(() => client.set('text', 'x'));
    const first = await lent();
    const syntax = await acme(() => failure(() => client.dedicated((own) => own.expire('text', 'x'))));
    expect(syntax.message).toMatch(/not an integer/);
    expect(await lent()).toBe(first);
    const type = await acme(() => failure(() => client.dedicated((own) => own.lpush('text', 'x'))));
    expect(type.message).toMatch(/^WRONGTYPE/);
    expect(await lent()).not.toBe(first);
    // With the name that the tenant knows, and on the shared connection as ever.
    expect(asked.join()).not.toContain('tk:');
    expect(asked.filter((message) => message.startsWith('WRONGTYPE'))).toHaveLength(1);
  });

  it('that comes once more, where it was known already, ends nothing that is younger', async () => {
    await using behind = await behindOneAddress({
      reconnectOnError: ({ message }) => message.startsWith('WRONGTYPE'),
      tenant: { dedicated: { max: 2, perTenant: 2 } },
    });
    const { client } = behind;
    await acme(() => client.set('text', 'x'));
    const fails = async (own: Redis): Promise<void> => {
      expect((await failure(() => own.lpush('text', 'x'))).message).toMatch(/^WRONGTYPE/);
    };
    await acme(() =>
      client.dedicated(async (old) => {
        await client.dedicated(fails);
        await client.dedicated((young) => young.ping());
        const before = idsOf(await lines());
        expect(before).toHaveLength(3);
        await fails(old);
        await client.dedicated((young) => young.ping());
        expect(idsOf(await lines())).toEqual(before);
      }),
    );
  });
});

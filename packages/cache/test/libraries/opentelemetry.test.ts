import { SpanKind, SpanStatusCode, context, trace, type Span } from '@opentelemetry/api';
import { AsyncLocalStorageContextManager } from '@opentelemetry/context-async-hooks';
import { IORedisInstrumentation } from '@opentelemetry/instrumentation-ioredis';
import { TracerProvider, type ReadableSpan, type SpanProcessor } from '@opentelemetry/sdk-trace';
import { Cluster, Redis, type ClusterOptions, type RedisOptions } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { createRequire } from 'node:module';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startClusterNode, type ClusterNode } from '../cluster-node.ts';
import { failure, ready, until } from '../support.ts';

// Which spans have begun, and which of them have ended.
const begun = new Set<object>();
const ended: ReadableSpan[] = [];
const processor: SpanProcessor = {
  onStart: (span) => void begun.add(span),
  onEnd: (span) => void ended.push(span),
  forceFlush: () => Promise.resolve(),
  shutdown: () => Promise.resolve(),
};
const instrumentation = new IORedisInstrumentation();

// A server of one's own, since its scripts are flushed: those of other tests would go as well.
let node: ClusterNode;
let clients: Client[] = [];
beforeAll(async () => {
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  const provider = new TracerProvider({ spanProcessors: [processor] });
  trace.setGlobalTracerProvider(provider);
  instrumentation.setTracerProvider(provider);
  instrumentation.enable();
  // It patches what is required.
  createRequire(import.meta.url)('ioredis');
  node = await startClusterNode();
});
beforeEach(() => node.raw.flushall());
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});
afterAll(async () => {
  instrumentation.disable();
  await node[Symbol.asyncDispose]();
});

interface Commands {
  add(key: string, by: number): Promise<unknown>;
}
type Client = (Redis | Cluster) & Commands;

const scripts = {
  add: {
    lua: 'return redis.call("INCRBY", KEYS[1], ARGV[1])',
    numberOfKeys: 1,
    tenant: 'keys-only',
  },
} as const;

type Plain<O> = O & { replyMapping?: 'legacy' };

const single = async (options: RedisOptions): Promise<Client> => {
  const client = new Redis(node.port, { ...(options as Plain<RedisOptions>), scripts }) as Redis & Commands;
  clients.push(client);
  await ready(client);
  return client;
};
const cluster = async (options: ClusterOptions): Promise<Client> => {
  const client = new Cluster([{ host: '127.0.0.1', port: node.port }], {
    ...(options as ClusterOptions & { redisOptions?: Plain<object> }),
    scripts,
  }) as Cluster & Commands;
  clients.push(client);
  await ready(client);
  // The node is known now, and connects at its first command.
  await withTenant('acme', () => client.get('first'));
  return client;
};

const CLIENTS: readonly [string, () => Promise<Client>][] = [
  ['a client', () => single({})],
  ['a client with an index', () => single({ tenant: { index: true } })],
  ['autopipelining', () => single({ enableAutoPipelining: true })],
  ['autopipelining with an index', () => single({ enableAutoPipelining: true, tenant: { index: true } })],
  ['a Cluster', () => cluster({})],
  ['a Cluster with an index', () => cluster({ tenant: { index: true } })],
  ['autopipelining of a Cluster', () => cluster({ enableAutoPipelining: true })],
];

/** What a request of a tenant does, under a span of its own. */
async function request<T>(tenant: string, fn: () => Promise<T>): Promise<T> {
  return trace.getTracer('service').startActiveSpan(`request of ${tenant}`, async (span: Span) => {
    try {
      return await withTenant(tenant, fn);
    } finally {
      span.end();
    }
  });
}

/** The spans under the request of a tenant, once all have ended. */
async function under(tenant: string): Promise<ReadableSpan[]> {
  await until(() => begun.size === ended.length);
  const parent = ended.find(({ name }) => name === `request of ${tenant}`)?.spanContext().spanId;
  return ended.filter(({ parentSpanContext }) => parentSpanContext?.spanId === parent);
}

/** What a span says of its call, and whether that has failed. */
function told({ attributes, status }: ReadableSpan): string {
  return `${String(attributes['db.query.text'])}${status.code === SpanStatusCode.ERROR ? ' failed' : ''}`;
}

it('is patched in', () => {
  expect(Reflect.get(Object.getPrototypeOf(Redis.prototype) as Redis, 'sendCommand')).toHaveProperty(
    '__original',
  );
});

describe.each(CLIENTS)('OpenTelemetry over %s', (title, open) => {
  let client: Client;
  beforeEach(async () => {
    client = await open();
    begun.clear();
    ended.length = 0;
  });
  // What is entered for a key before it comes into being.
  const entry = title.includes('index') ? ['zadd'] : [];

  it('traces calls, and those with callbacks, in logical names', async () => {
    const heard: unknown[] = [];
    const replies = await request('acme', async () => [
      await client.set('key', 'value'),
      ...(await Promise.all([client.get('key'), client.get('none'), client.getBuffer('key')])),
      await client.mget(['key'], (...answer) => void heard.push(answer)),
    ]);
    expect(replies).toEqual(['OK', 'value', null, Buffer.from('value'), ['value']]);
    expect(heard).toEqual([[null, ['value']]]);
    expect((await under('acme')).map(told).sort()).toEqual([
      'get key',
      'get key',
      'get none',
      'mget [1 other arguments]',
      'set key [1 other arguments]',
      ...entry,
    ]);
  });

  it('traces pipelines and transactions so', async () => {
    const replies = await request('acme', async () => [
      await client.pipeline().incr('counter').get('none').exec(),
      await client.multi().append('text', 'x').strlen('text').exec(),
    ]);
    const answers = (...values: unknown[]): unknown[] => values.map((value) => [null, value]);
    expect(replies).toEqual([answers(1, null), answers(1, 1)]);
    expect(new Set((await under('acme')).map(told))).toEqual(
      new Set([
        'incr counter',
        'get none',
        'multi',
        'append [2 other arguments]',
        'strlen [1 other arguments]',
        'exec',
        ...entry,
      ]),
    );
  });

  it('traces each call under the request that has made it', async () => {
    // In one turn: what waits for the end of it, or for a reply, leaves together.
    const tenants = ['acme', 'acme2'];
    const replies = await Promise.all(
      tenants.map((tenant) =>
        request(tenant, async () => [
          await Promise.all([client.set('key', tenant), client.incr('counter')]),
          await Promise.all([client.get('key'), client.pipeline().set('other', '').get(tenant).exec()]),
        ]),
      ),
    );
    const rest = ['OK', null].map((reply) => [null, reply]);
    expect(replies).toEqual(
      tenants.map((tenant) => [
        ['OK', 1],
        [tenant, rest],
      ]),
    );
    for (const tenant of tenants)
      expect(new Set((await under(tenant)).map(told))).toEqual(
        new Set([
          'set key [1 other arguments]',
          'incr counter',
          'get key',
          'set other [1 other arguments]',
          `get ${tenant}`,
          ...entry,
        ]),
      );
    const calls = ended.filter(({ name, kind }) => kind === SpanKind.CLIENT && name !== 'zadd');
    expect(calls.filter(({ parentSpanContext }) => parentSpanContext === undefined)).toEqual([]);
    expect(calls).toHaveLength(tenants.length * 5);
  });

  it('ends a span with the error of its own call', async () => {
    await request('acme', async () => {
      await client.set('text', 'x');
      const heard: unknown[] = [];
      const error = await failure(() => client.incr('text', (...answer) => void heard.push(answer)));
      expect(error.message).toMatch(/not an integer/);
      expect(heard).toEqual([[error]]);
      const [one, other] = (await client.pipeline().incr('text').get('text').exec()) ?? [];
      expect([one?.[0]?.message, other]).toEqual([error.message, [null, 'x']]);
      const inside = await client.multi().get('text').incr('text').exec();
      expect(inside?.map(([failed]) => failed?.message)).toEqual([undefined, error.message]);
    });
    const spans = (await under('acme')).map(told);
    expect(spans.filter((text) => text.endsWith(' failed'))).toEqual([
      'incr text failed',
      'incr text failed',
    ]);
    // Inside of a transaction that of the call ends with QUEUED, as with ioredis.
    expect(spans.filter((text) => text === 'incr text')).toHaveLength(1);
  });

  it('leaves what is refused to its caller, alone and in a pipeline', async () => {
    await request('acme', async () => {
      await client.set('key', 'value');
      expect(await failure(() => client.call('CONFIG', 'GET', 'port'))).toHaveProperty(
        'code',
        'OPERATION_REFUSED',
      );
      const replies = await client.pipeline().get('key').call('CONFIG', 'GET', 'port').get('none').exec();
      expect(replies).toEqual([
        [null, 'value'],
        [expect.objectContaining({ code: 'OPERATION_REFUSED' })],
        [null, null],
      ]);
    });
    const spans = (await under('acme')).map(told);
    expect(spans).toEqual(expect.arrayContaining(['get key', 'get none']));
    expect(spans.join()).not.toMatch(/config/i);
  });

  it('traces defined commands, also when the server has lost the script', async () => {
    await request('acme', async () => {
      expect(await client.add('counter', 1)).toBe(1);
      expect(await client.add('counter', 1)).toBe(2);
      await node.raw.script('FLUSH');
      expect(await client.add('counter', 1)).toBe(3);
      expect(await client.add('counter', 1)).toBe(4);
    });
    const spans = (await under('acme')).filter(({ name }) => name === 'evalsha');
    expect(spans).toHaveLength(5);
    expect(spans.filter(({ status }) => status.code === SpanStatusCode.ERROR)).toHaveLength(1);
    expect(spans.map(told).join()).not.toContain('tk:');
  });
});

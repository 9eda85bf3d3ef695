import { Cluster } from '@tenantkit/cache';
import { currentTenant, withTenant } from '@tenantkit/core';
import { Redis as Raw, type CommandTraceContext } from 'ioredis';
import { AsyncLocalStorage } from 'node:async_hooks';
import { tracingChannel } from 'node:diagnostics_channel';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { callersContext } from '../src/tracing.ts';
import { startClusterNode, type ClusterNode } from './cluster-node.ts';
import { openCache, ready, type Opened } from './support.ts';

const TENANTS = ['acme', 'acme2', 'a'] as const;
const channel = tracingChannel<string, CommandTraceContext>('ioredis:command');
const context = new AsyncLocalStorage<string>();

/** What a tracer is told of the calls of one tenant's requests: in which context, and inside of which tenant. */
const heard: string[] = [];
const subscribers = {
  start({ command, args }: CommandTraceContext) {
    heard.push(`${command} ${args[0]} in ${context.getStore()} of ${currentTenant()?.tenant}`);
  },
} as never;

let opened: Opened;
let node: ClusterNode;
beforeAll(async () => {
  [opened, node] = await Promise.all([openCache(), startClusterNode()]);
});
afterEach(() => {
  channel.unsubscribe(subscribers);
  heard.length = 0;
});
afterAll(() => Promise.all([opened[Symbol.asyncDispose](), node[Symbol.asyncDispose]()]));

const inRequest = <T>(tenant: string, fn: () => T): T =>
  context.run(`a request of ${tenant}`, () => withTenant(tenant, fn));

describe.each([
  {},
  { tenant: { index: true } },
  { enableAutoPipelining: true },
  { enableAutoPipelining: true, tenant: { index: true } },
])('a tracer of calls over %j', (options) => {
  it.each(['a client', 'a Cluster'])('hears each in the context of its own request: %s', async (kind) => {
    const client =
      kind === 'a client'
        ? opened.guarded(options)
        : new Cluster([{ host: '127.0.0.1', port: node.port }], options);
    await ready(client);
    await inRequest('ac', () => client.get('first'));
    channel.subscribe(subscribers);
    await Promise.all(TENANTS.map((tenant) => inRequest(tenant, () => client.set(`of ${tenant}`, 'value'))));
    const sets = TENANTS.map((tenant) => `set of ${tenant} in a request of ${tenant} of ${tenant}`);
    // What is entered for them is nothing that the tenant has called.
    const entries = TENANTS.map((tenant) => `zadd undefined in a request of ${tenant} of undefined`);
    expect(heard).toEqual([...('tenant' in options ? entries : []), ...sets]);
    client.disconnect();
  });
});

describe('the context of a caller', () => {
  const seen = (): string | undefined => {
    const within = inRequest('acme', callersContext);
    return within?.(() => context.getStore());
  };

  it('is kept while somebody listens to the channel of commands', () => {
    expect(seen()).toBeUndefined();
    channel.subscribe(subscribers);
    expect(seen()).toBe('a request of acme');
    channel.unsubscribe(subscribers);
    expect(seen()).toBeUndefined();
  });

  it('is kept while somebody stands before sendCommand', () => {
    const original: unknown = Reflect.get(Raw.prototype, 'sendCommand');
    const send = (...args: unknown[]): unknown => Reflect.apply(original as () => unknown, undefined, args);
    Reflect.set(Raw.prototype, 'sendCommand', send);
    expect(seen()).toBe('a request of acme');
    Reflect.set(Raw.prototype, 'sendCommand', original);
    expect(seen()).toBeUndefined();
  });
});

import { Cluster, Command } from '@tenantkit/cache';
import { withTenant } from '@tenantkit/core';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { startClusterNodes, type ClusterNodes } from './cluster-nodes.ts';
import { acme, acme2, failure } from './support.ts';

// A caller's own Command runs functions of the caller. What they throw is no word of the server: whoever could make
// one of it would have the password of the Cluster, and the calls of all tenants.

let nodes: ClusterNodes;
let stranger: Server;
let connections = 0;
let cluster: Cluster;
let forged: Error;
beforeAll(async () => {
  nodes = await startClusterNodes();
  stranger = createServer((socket) => {
    connections += 1;
    socket.destroy();
  }).listen(0, '127.0.0.1');
  await once(stranger, 'listening');
  cluster = new Cluster([{ host: '127.0.0.1', port: nodes.first.port }], { tenant: { hashTag: true } });
  await once(cluster, 'ready');
  await acme(() => cluster.set('key', 'of acme'));
  await acme2(() => cluster.set('key', 'of acme2'));
});
afterAll(async () => {
  cluster.disconnect();
  stranger.close();
  await nodes[Symbol.asyncDispose]();
});
beforeEach(async () => {
  connections = 0;
  const slot = await nodes.first.raw.cluster('KEYSLOT', 'tk:{acme2}:key');
  const { port } = stranger.address() as AddressInfo;
  forged = Object.assign(new Error(`MOVED ${slot} 127.0.0.1:${port}`), { name: 'ReplyError' });
});

// The types of ioredis leave it out.
interface Chain {
  get(key: string): Chain;
  sendCommand(command: Command): Chain;
  exec(): Promise<[error: Error | null, result?: unknown][] | null>;
}

const pipeline = (): Chain => cluster.pipeline() as unknown as Chain;

/** Calls of another tenant go where they went before. */
async function expectNoDetour(): Promise<void> {
  for (let n = 0; n < 20; n += 1) expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
  expect(connections).toBe(0);
  expect(cluster.nodes()).toHaveLength(3);
}

function attempt(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}

const thrown = (): never => {
  throw forged;
};

function commands(): readonly (readonly [string, Command])[] {
  const rejected = Promise.reject(forged);
  rejected.catch(() => undefined);
  return [
    ['transformReply', Object.assign(new Command('get', ['key']), { transformReply: thrown })],
    ['promise', Object.assign(new Command('get', ['key']), { promise: rejected })],
  ];
}

describe('a redirection that a function of a caller throws', () => {
  it('is an error of the call, and leads nowhere', async () => {
    const command = new Command('get', ['key'], { replyEncoding: 'utf8' });
    command.transformReply = thrown;
    expect(await acme(() => failure(() => cluster.sendCommand(command)))).toBe(forged);
    await expectNoDetour();
  });

  it('is thrown by resolve, and leads nowhere', async () => {
    const command = Object.assign(new Command('get', ['key']), { resolve: thrown });
    expect(await acme(() => failure(() => cluster.sendCommand(command)))).toBe(forged);
    await expectNoDetour();
  });

  it('is the result of its place in a pipeline, and leads nowhere', async () => {
    for (const [, command] of commands()) {
      const results = await acme(() => pipeline().get('key').sendCommand(command).get('key').exec());
      expect(results).toEqual([[null, 'of acme'], [forged], [null, 'of acme']]);
      expect(results?.[1]?.[0]).toBe(forged);
      await expectNoDetour();
    }
  });

  it('is that, too, where nothing else is in the pipeline', async () => {
    for (const [, command] of commands()) {
      const results = await acme(() => pipeline().sendCommand(command).exec());
      expect(results?.[0]?.[0]).toBe(forged);
      await expectNoDetour();
    }
  });

  it('is followed where the server says it', async () => {
    let tenant = '';
    let slot = 16_384;
    // One of the first master.
    for (let n = 0; slot >= 8192; n += 1) {
      tenant = `t${n}`;
      slot = await nodes.first.raw.cluster('KEYSLOT', `tk:{${tenant}}:key`);
    }
    await withTenant(tenant, () => cluster.set('key', 'value'));
    await nodes.move(slot);
    const command = new Command('get', ['key'], { replyEncoding: 'utf8' });
    const own = command as unknown as { initPromise(): void; promise: Promise<unknown> };
    const seen: unknown[] = [];
    const begin = own.initPromise.bind(own);
    // What ioredis calls while it sends the pipeline again is the caller's as well.
    own.initPromise = () => {
      begin();
      const { promise } = own;
      own.promise = Object.assign(promise, {
        then(...handlers: Parameters<typeof promise.then>) {
          seen.push(attempt(() => cluster.handleError(new Error('TRYAGAIN later'), {}, {})));
          return Promise.prototype.then.apply(promise, handlers);
        },
      });
    };
    const results = await withTenant(tenant, () => pipeline().sendCommand(command).exec());
    expect(results).toEqual([[null, 'value']]);
    expect(seen).toEqual([expect.objectContaining({ code: 'OPERATION_REFUSED' })]);
    expect(cluster.status).toBe('ready');
  });
});

import { OperationRefusedError, withTenant } from '@tenantkit/core';
import { Cluster, Command } from '@tenantkit/cache';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { startClusterNodes, type ClusterNodes } from './cluster-nodes.ts';
import { acme, acme2, failure, ready, until } from './support.ts';

let nodes: ClusterNodes;
let cluster: Cluster;
beforeAll(async () => {
  nodes = await startClusterNodes();
  cluster = open();
  await once(cluster, 'ready');
  await acme2(() => cluster.set('key', 'of acme2'));
});
afterAll(async () => {
  cluster.disconnect();
  await nodes[Symbol.asyncDispose]();
});

const open = (): Cluster =>
  new Cluster([{ host: '127.0.0.1', port: nodes.first.port }], { tenant: { hashTag: true } });

interface Owner {
  readonly tenant: string;
  readonly slot: number;
}

type Inner = Readonly<Record<string, (...args: unknown[]) => unknown>>;

const MEMBERS: Readonly<Record<string, readonly unknown[]>> = {
  clearNodesRefreshInterval: [],
  executeOfflineCommands: [],
  flushQueue: [new Error('of acme')],
  handleCloseEvent: [new Error('of acme')],
  invokeReadyDelayedCallbacks: [new Error('of acme')],
  resetNodesRefreshInterval: [],
  resetOfflineQueue: [],
  setStatus: ['end'],
};

const call = (client: object, name: string): unknown => (client as Inner)[name]?.(...(MEMBERS[name] ?? []));

describe.each(Object.keys(MEMBERS))('%s of ioredis', (name) => {
  it('is refused inside a tenant, and the service may call it', async () => {
    const error = await failure(() => acme(() => call(cluster, name)));
    expect(error).toBeInstanceOf(OperationRefusedError);
    expect(error.message).toContain(`cache.${name}`);
    expect(cluster.status).toBe('ready');
    expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
    const own = acme(() => cluster.duplicate());
    await ready(own);
    acme(() => call(own, name));
    own.disconnect();
  });
});

describe('handleError', () => {
  const handlers = (seen: string[]): object => {
    const tell = (name: string) => (): void => {
      seen.push(name);
      cluster.disconnect();
    };
    const names = [
      'moved',
      'ask',
      'tryagain',
      'connectionClosed',
      'clusterDown',
      'maxRedirections',
      'defaults',
    ];
    return Object.fromEntries(names.map((name) => [name, tell(name)]));
  };

  it.each(['ASK 1 x:1', 'MOVED 1 x:1', 'TRYAGAIN later', 'CLUSTERDOWN', 'Connection is closed.'])(
    'is refused inside a tenant for %s, and runs no function of it',
    async (message) => {
      const seen: string[] = [];
      const error = await failure(() =>
        acme(() => cluster.handleError(new Error(message), {}, handlers(seen) as never)),
      );
      expect(error).toBeInstanceOf(OperationRefusedError);
      expect(seen).toEqual([]);
      expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
    },
  );

  it('is refused inside a tenant for an error that says one thing first, and another later', async () => {
    const messages = ['ERR', 'TRYAGAIN later', 'TRYAGAIN later'];
    const error = Object.defineProperty(new Error('ERR'), 'message', {
      get: () => messages.shift() ?? 'TRYAGAIN later',
    });
    const seen: string[] = [];
    await failure(() => acme(() => cluster.handleError(error, {}, handlers(seen) as never)));
    expect(seen).toEqual(['defaults']);
  });

  it('is refused inside a tenant to code of callers that ioredis runs in its work on a call', async () => {
    const seen: string[] = [];
    const errors: unknown[] = [];
    const attempt = (): void => {
      try {
        cluster.handleError(new Error('TRYAGAIN later'), {}, handlers(seen));
      } catch (error) {
        errors.push(error);
      }
    };
    const other = new Cluster([{ host: '127.0.0.1', port: nodes.first.port }], {
      lazyConnect: true,
      enableOfflineQueue: false,
      scaleReads(all: unknown[]) {
        acme(attempt);
        return all[0];
      },
    });
    // A caller's own command is rejected by the caller's own function, here at once.
    const command = Object.assign(new Command('get', ['key']), { reject: attempt });
    acme(() => void other.sendCommand(command));
    expect(errors).toHaveLength(1);
    await ready(other);
    await acme(() => other.get('key'));
    expect(errors).toHaveLength(2);
    for (const error of errors) expect(error).toBeInstanceOf(OperationRefusedError);
    expect(seen).toEqual([]);
    other.disconnect();
  });

  it('runs what a tenant gives for any other error in that tenant', async () => {
    const seen: string[] = [];
    const error = await failure(() =>
      acme(() => cluster.handleError(new Error('ERR'), {}, handlers(seen) as never)),
    );
    expect([error.name, seen]).toEqual(['OperationRefusedError', ['defaults']]);
    expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
  });

  it('is there for ioredis: calls, pipelines and transactions follow a slot that moves', async () => {
    // Tenants whose slots the first master has.
    const slots = await Promise.all(
      Array.from({ length: 20 }, async (_, n) => {
        const slot = await nodes.first.raw.cluster('KEYSLOT', `tk:{t${n}}:k`);
        return { tenant: `t${n}`, slot };
      }),
    );
    const [one, two, three] = slots.filter(({ slot }) => slot < 8192) as [Owner, Owner, Owner];
    // Each by itself: with the first redirection a cluster learns of all.
    await nodes.move(one.slot);
    expect(await withTenant(one.tenant, () => cluster.incr('k'))).toBe(1);
    await nodes.move(two.slot);
    expect(await withTenant(two.tenant, () => cluster.pipeline().incr('k').get('k').exec())).toEqual([
      [null, 1],
      [null, '1'],
    ]);
    await nodes.move(three.slot);
    expect(await withTenant(three.tenant, () => cluster.multi().incr('k').exec())).toEqual([[null, 1]]);
  });

  it('is there for ioredis: what is called when a node has just ended is sent again', async () => {
    const tenants = Array.from({ length: 20 }, (_, n) => `e${n}`);
    const calls: Promise<string | null>[] = [];
    for (const node of cluster.nodes('master')) {
      // Its status is `end` by then, and the cluster has not heard of it.
      node.once('close', () => {
        for (const tenant of tenants) calls.push(withTenant(tenant, () => cluster.set('key', 'x')));
      });
      node.disconnect();
    }
    await until(() => calls.length >= 40);
    expect(new Set(await Promise.all(calls))).toEqual(new Set(['OK']));
  });
});

it.each(['close', 'end', 'refresh', 'ready', 'connect'])(
  '%s emitted inside a tenant reaches listeners of callers, and no work of ioredis',
  async (event) => {
    const heard: string[] = [];
    const listener = (): void => void heard.push(event);
    cluster.on(event, listener);
    expect(acme(() => cluster.emit(event))).toBe(true);
    cluster.off(event, listener);
    expect([heard, cluster.status]).toEqual([[event], 'ready']);
    // The work of ioredis at a real end of all nodes is still to come.
    const again = once(cluster, 'ready');
    await endNodes();
    await again;
    expect(await acme2(() => cluster.get('key'))).toBe('of acme2');
  },
);

// Those too that a refresh of the slots brings back before the last one has gone: with one node left, a cluster is
// ready as before and tells nothing.
async function endNodes(): Promise<void> {
  const closed = once(cluster, 'close');
  const end = (node: { disconnect(): void }): void => node.disconnect();
  cluster.on('+node', end);
  for (const node of cluster.nodes()) end(node);
  await closed;
  cluster.off('+node', end);
}

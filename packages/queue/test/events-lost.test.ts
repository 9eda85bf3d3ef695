import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { eventBench, recorder, type EventBench } from './events-support.ts';
import { proxyTo, type Proxy } from './proxy.ts';

let on: EventBench;
beforeAll(async () => {
  on = await eventBench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const database = (): number => Number(new URL(on.url).pathname.slice(1) || '0');

/** Events over a connection that can fail, and what is added past it. */
async function over(proxy: Proxy) {
  const db = database();
  const connection = { host: '127.0.0.1', port: proxy.port, db, maxRetriesPerRequest: null };
  const events = on.events('mail', { connection, blockingTimeout: 100 });
  const errors: unknown[] = [];
  events.on('error', (error) => errors.push(error));
  const heard = recorder();
  await withTenant('acme', async () => {
    events.on('added', ({ jobId }) => heard.listener(jobId));
    await events.waitUntilReady();
  });
  const queue = on.queue('mail');
  let count = 0;
  const add = async (): Promise<void> => {
    await withTenant('acme', () => queue.add('a', {}, { jobId: `j-${(count += 1)}` }));
  };
  return { events, errors, heard, add };
}

const proxied = (): Promise<Proxy> => proxyTo(Number(new URL(on.url).port));

describe('QueueEvents over a bad line', () => {
  it('hears of everything once it is better', async () => {
    await using proxy = await proxied();
    const { heard, add, events } = await over(proxy);
    await add();
    await heard.until(1);
    for (let round = 1; round <= 3; round += 1) {
      await proxy.swallow();
      await add();
      await add();
      proxy.restore();
      await add();
      await heard.until(1 + round * 3);
    }
    expect(heard.heard.flat()).toEqual(Array.from({ length: 10 }, (_, at) => `j-${at + 1}`));
    await events.close();
  });

  it('asks again when an answer does not come, though the line seems to be well', async () => {
    await using proxy = await proxied();
    const { heard, add, events } = await over(proxy);
    await add();
    await heard.until(1);
    await proxy.swallow();
    proxy.heal();
    await add();
    expect((await heard.until(2)).flat()).toEqual(['j-1', 'j-2']);
    await events.close();
  });

  it('waits for a job only when it listens', async () => {
    const open = Promise.withResolvers<void>();
    const port = Number(new URL(on.url).port);
    const sockets: Socket[] = [];
    const server = createServer((client) => {
      sockets.push(client);
      void open.promise.then(() => client.pipe(connect(port, '127.0.0.1')).pipe(client));
    });
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const address = server.address() as AddressInfo;
    const queue = on.queue('mail');
    const events = on.events('mail', {
      connection: { host: '127.0.0.1', port: address.port, db: database() },
    });
    const gate = Promise.withResolvers<void>();
    const worker = on.worker('mail', async () => {
      await gate.promise;
      return 'done';
    });
    const job = await withTenant('acme', () => queue.add('a', {}));
    const wait = withTenant('acme', () => job.waitUntilFinished(events));
    // Whoever asks for the state before it listens has asked by now.
    await withTenant('acme', () => job.getState());
    const completed = once(worker, 'completed');
    gate.resolve();
    await completed;
    open.resolve();
    expect(await wait).toBe('done');
    await events.close();
    for (const socket of sockets) socket.destroy();
    server.close();
  });

  it('closes without one', async () => {
    const proxy = await proxied();
    const { events, add } = await over(proxy);
    await add();
    const queue = on.queue('mail');
    const job = await withTenant('acme', () => queue.add('a', {}, { delay: 60_000 }));
    const wait = withTenant('acme', () => job.waitUntilFinished(events)).catch((error: unknown) => error);
    await withTenant('acme', () => events.waitUntilReady());
    await proxy[Symbol.asyncDispose]();
    await events.close();
    expect(await wait).toEqual(new Error('The QueueEvents was closed.'));
    await events.close();
  });
});

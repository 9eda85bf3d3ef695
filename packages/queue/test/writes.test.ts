import { once } from 'node:events';
import { Socket, createServer, type AddressInfo } from 'node:net';
import { withTenant } from '@tenantkit/core';
import { expect, it } from 'vitest';
import { writeTogether } from '../src/writes.ts';
import { bench } from './support.ts';

/** Counts what reaches the system. */
class Counting extends Socket {
  writes = 0;

  override _write(...args: Parameters<Socket['_write']>): void {
    this.writes += 1;
    super._write(...args);
  }

  override _writev(...args: Parameters<NonNullable<Socket['_writev']>>): void {
    this.writes += 1;
    super._writev?.(...args);
  }
}

it('what is sent in one turn leaves in few writes, complete and in order', async () => {
  let text = '';
  await using server = createServer((incoming) => {
    incoming.setEncoding('utf8').on('data', (more: string) => void (text += more));
  });
  await once(server.listen(0, '127.0.0.1'), 'listening');
  const socket = new Counting();
  // Without it a failure would wait for the server, which waits for its connections.
  using _closing = { [Symbol.dispose]: () => socket.destroy() };
  await once(socket.connect((server.address() as AddressInfo).port, '127.0.0.1'), 'connect');
  const send = (from: number, to: number): void => {
    for (let n = from; n < to; n += 1) {
      writeTogether(socket);
      socket.write(`${n},`);
    }
  };
  send(0, 20);
  // Still the same turn.
  await Promise.resolve();
  send(20, 40);
  expect(socket.writes).toBe(2);
  await new Promise(setImmediate);
  expect(socket.writes).toBe(3);
  send(40, 41);
  await new Promise(setImmediate);
  expect(socket.writes).toBe(4);
  expect(socket.writableCorked).toBe(0);
  const closed = once(server, 'close');
  socket.end();
  server.close();
  await closed;
  expect(text).toBe(Array.from({ length: 41 }, (_, n) => `${n},`).join(''));
});

it('jobs that are added in one turn are stored in the order in which they were added', async () => {
  await using on = await bench();
  const queue = on.queue('mail');
  const ids = Array.from({ length: 50 }, (_, n) => `j${n}`);
  await withTenant('acme', () => Promise.all(ids.map((jobId) => queue.add('n', {}, { jobId }))));
  expect(await on.redis.lrange('bull:mail~acme:wait', 0, -1)).toEqual(
    ids.map((id) => `acme~${id}`).toReversed(),
  );
});

it('nothing is held where there is no connection of its own', () => {
  for (const none of [undefined, null, {}, { cork: () => expect.unreachable() }]) writeTogether(none);
});

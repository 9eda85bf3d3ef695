import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** A way to the real Redis that can fail: what lies between a service and its Redis in real life. */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Lets nothing through any more, and does not say so. @returns when the first bytes are lost */
  swallow(): Promise<void>;
  /** Lets all through again on the same connections: what was lost stays lost. */
  heal(): void;
  /** Breaks every connection, and lets new ones through. */
  restore(): void;
}

export async function proxyTo(port: number): Promise<Proxy> {
  let lost: (() => void) | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
    }
    client.on('data', (bytes) => {
      if (lost === undefined) upstream.write(bytes);
      else lost();
    });
    upstream.on('data', (bytes) => client.write(bytes));
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return {
    port: address.port,
    swallow: () =>
      new Promise((resolve) => {
        lost = resolve;
      }),
    heal() {
      lost = undefined;
    },
    restore() {
      lost = undefined;
      for (const socket of sockets) socket.destroy();
      sockets.clear();
    },
    async [Symbol.asyncDispose]() {
      const closed = once(server, 'close');
      server.close();
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

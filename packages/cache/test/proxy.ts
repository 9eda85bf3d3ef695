import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** A way to the real server that can fail: what lies between a service and its Redis in real life. */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Forwards so many bytes of what the server answers from now on, then breaks the connection. */
  breakAfter(bytes: number): void;
  /** Lets nothing through any more, and does not say so. */
  swallow(): void;
}

export async function proxyTo(target: { host: string; port: number }): Promise<Proxy> {
  let left = Infinity;
  let silent = false;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
    }
    client.on('data', (bytes) => {
      if (!silent) upstream.write(bytes);
    });
    upstream.on('data', (bytes) => {
      if (silent) return;
      client.write(bytes.subarray(0, left));
      left -= bytes.length;
      if (left <= 0) client.end();
    });
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return {
    port: address.port,
    breakAfter(bytes) {
      left = bytes;
    },
    swallow() {
      silent = true;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
}

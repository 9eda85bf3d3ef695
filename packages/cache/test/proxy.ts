import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';

/** A way to the real server that can fail: what lies between a service and its Redis in real life. */
export interface Proxy extends AsyncDisposable {
  readonly port: number;
  /** Forwards so many bytes of what the server answers from now on, then breaks the connection. */
  breakAfter(bytes: number): void;
  /** Lets nothing through any more, and does not say so. */
  swallow(): void;
  /** Keeps back what the server answers, until {@link Proxy.release}. */
  hold(): void;
  release(): void;
  /** Brings connections that are made from now on to another server, as an address that others take over. */
  to(target: { host: string; port: number }): void;
  /** Answers commands itself, as something does that hides the server from services. */
  answer(command: RegExp, reply: string): void;
  /** The names of the commands that have come from clients since it was last asked. */
  commands(): string[];
}

export async function proxyTo(first: { host: string; port: number }): Promise<Proxy> {
  let target = first;
  let left = Infinity;
  let silent = false;
  let written = '';
  let held: (() => void)[] | undefined;
  let own: { readonly command: RegExp; readonly reply: string } | undefined;
  const sockets = new Set<Socket>();
  const server = createServer((client) => {
    const upstream = connect(target);
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
    }
    client.on('data', (bytes) => {
      const text = bytes.toString('latin1');
      written += text;
      if (own?.command.test(text) === true) client.write(own.reply);
      else if (!silent) upstream.write(bytes);
    });
    upstream.on('data', (bytes) => {
      if (silent) return;
      if (held !== undefined) {
        held.push(() => client.write(bytes));
        return;
      }
      client.write(bytes.subarray(0, left));
      left -= bytes.length;
      // Whoever comes back finds the way open again.
      if (left <= 0) {
        left = Infinity;
        client.end();
        upstream.destroy();
      }
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
    hold() {
      held = [];
    },
    release() {
      const kept = held ?? [];
      held = undefined;
      for (const write of kept) write();
    },
    to(next) {
      target = next;
    },
    answer(command, reply) {
      own = { command, reply };
    },
    commands() {
      const names = Array.from(written.matchAll(/\*\d+\r\n\$\d+\r\n([^\r]+)\r\n/g), ([, name = '']) => name);
      written = '';
      return names.map((name) => name.toLowerCase());
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
}

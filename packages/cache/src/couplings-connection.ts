import { Redis as RawRedis, Command, type RedisOptions } from 'ioredis';
import { EventEmitter } from 'node:events';
import { REDIS_INNER } from './inner-names.ts';

/** What the guard, the pool of lent connections and pub/sub rely on while a connection comes, works and goes. */
export const CONNECTION = {
  'a connection is set up in the status connect, with condition.handshake': () => {
    const { client, socket, seen } = played();
    socket.onWrite = () => seen.push(`${client.status} ${client.condition?.handshake}`);
    socket.emit('connect');
    return seen.length > 0 && seen.every((state) => state === 'connect true');
  },
  'the end of a socket is heard by listeners of close, which it has in the status connect': () => {
    const { client, socket } = played();
    socket.emit('connect');
    const listeners = socket.rawListeners('close');
    socket.removeAllListeners('close');
    socket.emit('close');
    const { status } = client;
    for (const listener of listeners) Reflect.apply(listener, socket, []);
    return status === 'connect' && client.status === 'end';
  },
  'the status of a client changes in setStatus': () => {
    const { client, socket } = played();
    const told: string[] = [];
    const setStatus = client.setStatus.bind(client);
    client.setStatus = (...args) => {
      told.push(args[0]);
      setStatus(...args);
    };
    socket.emit('connect');
    socket.emit('close');
    return told.join() === 'connect,close,end';
  },
  'a client changes its status and queues in members of these names': () =>
    REDIS_INNER.every((name) => typeof Reflect.get(RawRedis.prototype, name) === 'function'),
  'an error reply goes to handleReconnection, with the command that it answers': () => {
    const { client, socket } = ready();
    const command = send(client, new Command('get', ['key']));
    let told: unknown;
    client.handleReconnection = (error, item) => {
      told = (error as Error).message.startsWith('ERR no') ? item.command : undefined;
    };
    socket.emit('data', Buffer.from('-ERR no\r\n'));
    return told === command;
  },
  'an error of the socket is told with silentEmit': () => {
    const { client, socket } = ready();
    const told: unknown[] = [];
    client.silentEmit = (...args) => told.push(...args) > 1;
    const error = new Error('of the socket');
    socket.emit('error', error);
    return told[0] === 'error' && told[1] === error;
  },
  'what waits for its reply is in commandQueue, with the stream of its pipeline': () => {
    const { client } = ready();
    const stream = { write: () => true } as never;
    const first = send(client, new Command('get', ['a']));
    const last = new Command('get', ['b']);
    void RawRedis.prototype.sendCommand.call(client, last, stream);
    last.promise.catch(ignore);
    const queue = client.commandQueue;
    const [one, other] = queue.toArray();
    const isKept = one?.command === first && other?.command === last && other.stream === stream;
    return isKept && queue.peekBack() === other && queue.pop() === other && queue.length === 1;
  },
  'what was not answered when a connection closes is kept in prevCommandQueue': () => {
    const { client, socket } = ready();
    const command = send(client, new Command('get', ['key']));
    client.flushQueue = ignore;
    socket.emit('close');
    return client.prevCommandQueue?.shift()?.command === command;
  },
  'a node that no longer has a sharded channel emits moved': () =>
    ['-MOVED 1 127.0.0.1:1\r\n', '>3\r\n$12\r\nsunsubscribe\r\n$1\r\nc\r\n:0\r\n'].every((reply, place) => {
      const { client, socket } = ready();
      const command = new Command(place === 0 ? 'ssubscribe' : 'get', ['c']);
      if (client.condition !== null) Object.assign(client.condition, { protocol: 3, subscriber: false });
      send(client, command);
      let told = 0;
      client.on('moved', () => {
        told += 1;
      });
      socket.emit('data', Buffer.from(reply));
      return told === 1;
    }),
} satisfies Readonly<Record<string, () => boolean>>;

// What ioredis has, whether its types show it or not.
type Played = Omit<
  RawRedis,
  'condition' | 'setStatus' | 'silentEmit' | 'handleReconnection' | 'flushQueue'
> & {
  condition: { handshake?: boolean } | null;
  prevCommandQueue?: RawRedis['commandQueue'] | null;
  setStatus(...args: [status: string, argument?: unknown]): void;
  silentEmit(event: string, argument?: unknown): boolean;
  handleReconnection(error: unknown, item: { readonly command: unknown }): void;
  flushQueue(error: Error): void;
};

// A socket that never was: what happens on one is said by emitting it.
class Socket extends EventEmitter {
  readonly connecting = true;
  readonly destroyed = false;
  readonly writable = true;
  onWrite = ignore;

  write(): boolean {
    this.onWrite();
    return true;
  }

  resume(): void {
    // It says by itself what it has.
  }

  setNoDelay(): void {
    // It sends nothing.
  }

  setKeepAlive(): void {
    // It is not kept.
  }
}

// A client whose socket is connecting. Whatever ioredis does with it, it does right then.
function played(): { readonly client: Played; readonly socket: Socket; readonly seen: string[] } {
  const socket = new Socket();
  class Connector {
    connect(): PromiseLike<unknown> {
      return { then: (connected: (stream: Socket) => unknown) => connected(socket) } as PromiseLike<unknown>;
    }

    check(): boolean {
      return true;
    }

    disconnect(): void {
      // There is nothing to end.
    }
  }
  const options: RedisOptions = {
    lazyConnect: true,
    Connector: Connector as never,
    connectTimeout: 0,
    retryStrategy: null,
    autoResubscribe: false,
    reconnectOnError: null,
  };
  const client = new RawRedis(options as RedisOptions & { replyMapping: 'legacy' }) as unknown as Played;
  client.connect().catch(ignore);
  return { client, socket, seen: [] };
}

// One whose handshake is over.
function ready(): { readonly client: Played; readonly socket: Socket } {
  const { client, socket } = played();
  socket.emit('connect');
  Object.assign(client, { status: 'ready' });
  client.commandQueue.clear();
  return { client, socket };
}

function send(client: Played, command: Command): Command {
  void RawRedis.prototype.sendCommand.call(client, command);
  command.promise.catch(ignore);
  return command;
}

function ignore(): void {
  // Nobody waits for it.
}

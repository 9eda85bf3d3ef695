import type { LaneStore } from '../lanes/store.ts';

/** What the server has answered: keys of streams, with their entries. */
export type Streams = readonly (readonly [string, readonly (readonly [string, readonly string[]])[]])[];

/** How often the server is asked to end a command that it has not begun, and in which distance in milliseconds. */
const TRIES = 20;
const BETWEEN = 5;
/** How much later than it should the server may answer, in milliseconds: the connection is taken for lost then. */
const LATE = 5_000;

/** As much of ioredis as BullMQ's own type of a client does not have. */
interface Commands {
  readonly status: string;
  readonly isCluster: boolean;
  readonly call: (...command: readonly string[]) => Promise<unknown>;
  readonly pipeline: (commands: readonly (readonly string[])[]) => {
    readonly exec: () => Promise<readonly (readonly [Error | null, unknown])[] | null>;
  };
  readonly disconnect: (reconnect?: boolean) => void;
  readonly on: (event: string, listener: () => void) => unknown;
  readonly once: (event: string, listener: () => void) => unknown;
  readonly off: (event: string, listener: () => void) => unknown;
}

/** What the connection on which is waited is called by the server, as long as it lasts. */
export interface Waiter {
  id: Promise<unknown> | undefined;
  client: object | undefined;
}

/**
 * One `XREAD` on the connection that is there for it. It ends when there are events, when its time is over, when it is
 * interrupted, and when the connection is lost, after which ioredis does not repeat it by itself: with the ids of
 * yesterday, and nobody waiting for the answer.
 */
export class BlockedRead {
  readonly #store: LaneStore;
  readonly #waiter: Waiter;
  readonly #failed: (error: unknown) => void;
  #client: Commands | undefined;
  /** Of one of the streams. */
  #key = '';
  readonly #over = Promise.withResolvers<null>();
  #isDone = false;
  #isInterrupted = false;
  #isStopped = false;

  constructor(store: LaneStore, waiter: Waiter, failed: (error: unknown) => void) {
    this.#store = store;
    this.#waiter = waiter;
    this.#failed = failed;
  }

  /** @param wait - in milliseconds, `Infinity` for ever; `undefined` for not at all */
  async send(
    streams: { readonly key: string; readonly id: string }[],
    count: number,
    wait: number | undefined,
  ): Promise<Streams> {
    const client = await this.#store.blockingClient;
    if (client === undefined) throw new TypeError('the store has no connection to wait on');
    const commands = client as unknown as Commands;
    await Promise.race([live(commands), this.#over.promise]);
    if (this.#isStopped) return [];
    const end = (): void => this.#over.resolve(null);
    let timer: NodeJS.Timeout | undefined;
    commands.once('close', end);
    try {
      if (wait !== undefined) {
        this.#client = commands;
        if (commands.isCluster) {
          // Anew each time, and known before the server waits: the connection to the one that has the streams may be
          // another one by now, and what is asked behind the wait is answered behind it.
          this.#key = streams[0]?.key ?? '';
          this.#waiter.id = this.#ask(commands);
          await Promise.race([this.#waiter.id, this.#over.promise]);
          if (this.#isInterrupted || this.#isStopped) return [];
        } else this.#waiter.id ??= this.#ask(commands);
      }
      const block = wait === undefined ? {} : { BLOCK: Number.isFinite(wait) ? Math.ceil(wait) : 0 };
      const reply: Promise<Streams | null> = client.xread(streams, { COUNT: count, ...block });
      reply.catch(() => undefined);
      if (this.#isInterrupted) void this.#unblock();
      if (wait === undefined || Number.isFinite(wait))
        timer = setTimeout(() => commands.disconnect(true), (wait ?? 0) + LATE);
      return (await Promise.race([reply, this.#over.promise])) ?? [];
    } finally {
      this.#isDone = true;
      clearTimeout(timer);
      commands.off('close', end);
    }
  }

  /** Ends it, if it waits. */
  async interrupt(): Promise<void> {
    if (this.#isInterrupted) return;
    this.#isInterrupted = true;
    if (this.#client !== undefined) await this.#unblock();
  }

  /** Ends it for who waits for it, whatever the connection does. */
  stop(): void {
    this.#isStopped = true;
    this.#over.resolve(null);
  }

  #ask(client: Commands): Promise<unknown> {
    const waiter = this.#waiter;
    if (waiter.client !== client) {
      waiter.client = client;
      client.on('close', () => (waiter.id = undefined));
    }
    const id = this.#told(client, 'ID');
    id.catch(() => (waiter.id = undefined));
    return id;
  }

  /**
   * What the server says that waits. On a cluster a command without a key goes to any server: to the right one it goes
   * beside one with a key, in a pipeline.
   */
  async #told(client: Commands, ...question: readonly string[]): Promise<unknown> {
    if (!client.isCluster) return client.call('CLIENT', ...question);
    const commands = [
      ['client', ...question],
      ['exists', this.#key],
    ];
    const [[error, reply] = [null, null]] = (await client.pipeline(commands).exec()) ?? [];
    if (error !== null) throw error;
    return reply;
  }

  async #unblock(): Promise<void> {
    try {
      const id = String(await this.#waiter.id);
      const other = (await this.#store.client) as unknown as Commands;
      // The two connections have no order between them: the server may not have begun to wait yet.
      for (let left = TRIES; !this.#isDone && left > 0; left -= 1) {
        if (Number(await this.#told(other, 'UNBLOCK', id)) === 1) return;
        await new Promise((resolve) => setTimeout(resolve, BETWEEN));
      }
    } catch (error) {
      if (this.#isDone) return;
      this.#failed(error);
    }
    if (!this.#isDone) this.#client?.disconnect(true);
  }
}

/** Resolves when the connection is there: what is sent before would be sent again with each attempt. */
async function live(client: Commands): Promise<void> {
  while (client.status !== 'ready') {
    if (client.status === 'end') throw new Error('Connection is closed.');
    await new Promise<void>((resolve) => {
      const go = (): void => {
        client.off('ready', go);
        client.off('end', go);
        resolve();
      };
      client.once('ready', go);
      client.once('end', go);
    });
  }
}

import { withTenant } from '@tenantkit/core';
import { Cluster, type Redis } from '@tenantkit/cache';
import { shown } from './support.ts';

/** What a client may say when its connection has been taken away; everything else is a finding. */
const LOST_CONNECTION =
  /^(?:Connection is closed\.|Command aborted due to connection close|Reached the max retries per request limit|Stream isn't writeable and enableOfflineQueue options is false|Command timed out|write EPIPE|read ECONNRESET|Socket closed unexpectedly)/;

/** How a {@link Storm} is told what else may happen. */
export interface StormOptions {
  /** Callers at the same time and per tenant: each waits for its reply before it calls again. */
  readonly callers: number;
  /** Error messages that this way of breaking brings about, beside those of a lost connection. */
  readonly expected?: RegExp;
}

/**
 * Callers of several tenants on one client, with the same keys, all the time. Each value says whose it is, which key
 * it belongs to and when it was written, and each ECHO is unique, so that a reply that went to a wrong caller is
 * seen, whether that is another tenant's or the same tenant's.
 */
export class Storm {
  /** Replies that belong to somebody else. */
  readonly wrong: string[] = [];
  /** Writes that were acknowledged, and are not there. */
  readonly lost: string[] = [];
  /** Errors that nothing here explains, and those that show a physical name. */
  readonly strange: string[] = [];
  readonly errors = new Map<string, number>();
  replies = 0;
  readonly #options: StormOptions;
  readonly #callers: Promise<void>[] = [];
  readonly #state = { running: true };

  constructor(client: Redis | Cluster, tenants: readonly string[], options: StormOptions) {
    this.#options = options;
    for (const tenant of tenants)
      for (let n = 0; n < options.callers; n += 1)
        this.#callers.push(withTenant(tenant, () => this.#call(new Caller(this, client, tenant, n))));
  }

  /** Resolves once so many further replies have come, or a further look makes no sense. */
  async more(replies: number): Promise<void> {
    const enough = this.replies + replies;
    while (this.replies < enough && this.wrong.length === 0)
      await new Promise((resolve) => void setImmediate(resolve));
  }

  /** Lets every caller hear its last reply. */
  async stop(): Promise<void> {
    this.#state.running = false;
    await Promise.all(this.#callers);
  }

  /** Counts an error, and keeps it when it is none of those that may be. */
  failed(error: unknown): void {
    const { message } = error as Error;
    const kind = message.slice(0, 40);
    const count = (this.errors.get(kind) ?? 0) + 1;
    this.errors.set(kind, count);
    const { expected } = this.#options;
    if (!LOST_CONNECTION.test(message) && expected?.test(message) !== true) this.#note(error);
    // Looking at everything that an error holds takes as long as many calls.
    else if (count <= 20 && shown(error).includes('tk:')) this.#note(error);
  }

  // The first few tell enough.
  #note(error: unknown): void {
    if (this.strange.length < 3) this.strange.push(shown(error));
  }

  async #call(caller: Caller): Promise<void> {
    const forms = [...caller.forms()];
    for (let turn = 0; this.#state.running; turn += 1) {
      try {
        await forms[turn % forms.length]?.();
      } catch (error) {
        this.failed(error);
        // A client that rejects at once, since it has no connection, must get the time to open one.
        await new Promise((resolve) => void setImmediate(resolve));
      }
    }
  }
}

class Caller {
  readonly #storm: Storm;
  readonly #client: Redis | Cluster;
  readonly #tenant: string;
  readonly #key: string;
  #attempted = 0;
  #acknowledged = 0;
  // What the last pipeline or transaction has written.
  #token = '';
  #attempt = 0;

  constructor(storm: Storm, client: Redis | Cluster, tenant: string, n: number) {
    this.#storm = storm;
    this.#client = client;
    this.#tenant = tenant;
    this.#key = `k${n}`;
  }

  /** The ways of calling, in turn. */
  forms(): readonly (() => Promise<void>)[] {
    const client = this.#client;
    const key = this.#key;
    return [
      async () => {
        const [value, attempt] = this.#next();
        this.#written(attempt, await client.set(key, value));
      },
      async () => {
        const since = this.#acknowledged;
        this.#read(await client.get(key), since);
      },
      async () => {
        const value = `${this.#tenant}/${this.#key}/${(unique += 1)}`;
        this.#same(value, await client.echo(value));
      },
      async () => {
        const since = this.#acknowledged;
        this.#read((await client.getBuffer(key))?.toString(), since);
      },
      async () => this.#several(await client.pipeline(this.#three()).exec()),
      async () => this.#several(await client.multi(this.#three()).exec()),
      async () => {
        const refused = await client.call('CONFIG', 'GET', '*').then(
          () => 'answered',
          ({ code }: { code?: string }) => code,
        );
        this.#same('OPERATION_REFUSED', refused);
      },
    ];
  }

  #three(): [string, ...string[]][] {
    const [value, attempt] = this.#next();
    this.#token = value;
    this.#attempt = attempt;
    return [
      ['set', this.#key, value],
      ['get', this.#key],
      // A Cluster's pipeline is sent again as a whole when all of it was redirected: one that names no key never is.
      this.#client instanceof Cluster ? ['get', this.#key] : ['echo', value],
    ];
  }

  /** The results of these three: each is right or a lost connection. */
  #several(results: [Error | null, unknown][] | null): void {
    const since = this.#acknowledged;
    for (const [index, [error, reply]] of (results ?? []).entries()) {
      if (error !== null) this.#storm.failed(error);
      else if (index === 0) this.#written(this.#attempt, reply);
      else if (index === 1 || this.#client instanceof Cluster) this.#read(reply, since);
      else this.#same(this.#token, reply);
    }
  }

  #next(): readonly [string, number] {
    this.#attempted += 1;
    return [`${this.#tenant}/${this.#key}/${this.#attempted}`, this.#attempted];
  }

  #written(attempt: number, reply: unknown): void {
    this.#same('OK', reply);
    this.#acknowledged = Math.max(this.#acknowledged, attempt);
  }

  #read(reply: unknown, since: number): void {
    this.#storm.replies += 1;
    const [tenant, key, at] = typeof reply === 'string' ? reply.split('/') : [];
    // Nothing was written yet.
    if (reply === null || reply === undefined) {
      if (since > 0) this.#storm.lost.push(`${this.#tenant}/${this.#key}: ${since}, and it is not there`);
    } else if (tenant !== this.#tenant || key !== this.#key)
      this.#storm.wrong.push(`${this.#tenant}/${this.#key} got ${JSON.stringify(reply)}`);
    else if (Number(at) < since || Number(at) > this.#attempted)
      this.#storm.lost.push(`${this.#tenant}/${this.#key}: ${since}, and there is ${at}`);
  }

  #same(expected: string, reply: unknown): void {
    this.#storm.replies += 1;
    if (reply !== expected)
      this.#storm.wrong.push(`${this.#tenant}/${this.#key} got ${JSON.stringify(reply)} for ${expected}`);
  }
}

let unique = 0;

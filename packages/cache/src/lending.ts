import type { Scope } from '@tenantkit/core';
import type { EventEmitter } from 'node:events';
import type { RedisOptions } from './client-options.ts';
import { lentOptions } from './further.ts';
import { showLine } from './lent.ts';
import { followLogin, withLogin } from './login.ts';
import { Line } from './line.ts';
import { LinePool } from './pool.ts';
import { targetOf } from './target.ts';
import type { Wiring } from './wiring.ts';
import { wiringOf } from './wirings.ts';

/** A client that lends connections, and one that is lent. */
interface Lendable extends EventEmitter {
  readonly status: string;
  readonly options: RedisOptions;
}

/** The connections that one client lends. */
export class Lending<Client extends Lendable> {
  readonly #client: Client;
  readonly #wiring: Wiring;
  readonly #over: (line: Line, options: RedisOptions) => Client;
  #lines: LinePool | undefined;

  /**
   * @param wiring - that of the client
   * @param over - makes a client that sends over a connection, and shares what it lends itself
   */
  constructor(client: Client, wiring: Wiring, over: (line: Line, options: RedisOptions) => Client) {
    this.#client = client;
    this.#wiring = wiring;
    this.#over = over;
    let isCut = false;
    wiring.onStatus((status) => {
      if (status === 'end') this.#lines?.close();
      // One that was made while the client had no connection may still have gone to where that was before.
      if (status === 'close' || (status === 'ready' && isCut)) this.#lines?.renew();
      if (status === 'close' || status === 'ready') isCut = status === 'close';
    });
  }

  /** Lends a connection for as long as `fn` takes; see `Redis.dedicated`. */
  async lend<T>(fn: (connection: Client) => T | Promise<T>, signal: AbortSignal | undefined): Promise<T> {
    const scope = this.#wiring.belonging.enter('dedicated');
    if (this.#client.status === 'end') throw new Error('Connection is closed.');
    return this.#poolOfLines().lend(scope.tenant?.tenant ?? '', signal, async (line) => {
      const { lent, end } = this.#lend(line, scope);
      try {
        return await fn(lent);
      } finally {
        end();
        // Nobody knows what an operator has done with it.
        if (scope.tenant === undefined) line.disconnect();
      }
    });
  }

  /** Makes a client that is lent lend from the same pool. */
  shareWith(lent: Lending<Client>): void {
    lent.#lines = this.#poolOfLines();
  }

  #poolOfLines(): LinePool {
    if (this.#lines !== undefined) return this.#lines;
    const pool = new LinePool(
      (stale) => this.#makeLine(stale),
      () => targetOf(this.#client.options),
      this.#wiring.tenant.dedicated,
    );
    return (this.#lines = pool);
  }

  // As whom it connects may have changed since the last one.
  #makeLine(stale: () => void): Line {
    const { tenant: _, ...options } = withLogin(this.#client.options);
    return new Line(options, stale);
  }

  #lend(line: Line, scope: Scope) {
    const { options } = this.#client;
    // A client of its own for every loan: once it is over, whoever has kept it is told so.
    const lent = this.#over(line, lentOptions(options, this.#wiring));
    followLogin(lent.options, options);
    const wiring = wiringOf(lent) as Wiring;
    this.#wiring.noteOn(wiring);
    wiring.stays(this.#wiring);
    this.#wiring.defineOn(wiring);
    const session = wiring.own(scope, () => line.status);
    const hide = showLine(lent, line, () => session.isOver);
    const end = (): void => {
      session.end();
      wiring.subscriptions.close();
      hide();
    };
    return { lent, end };
  }
}

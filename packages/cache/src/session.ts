import { breach, refusal, refuse } from '@tenantkit/core';
import { BRACKET, isPart } from './mark.ts';
import type { TenantNames } from './names.ts';
import { follow, isFollowed, isRepeated } from './rare.ts';
import { logicalReply } from './said.ts';
import { Sent } from './sent.ts';

const OVER = refuse(
  'the function that this connection was lent to has ended',
  'Await everything inside the function given to dedicated(), and keep no connection; call dedicated() again.',
);
const LOST = refuse(
  'the connection was lost since, and with it what was watched and queued: EXEC would run unwatched',
  'Begin anew with WATCH or MULTI.',
);
const INDEXED = refuse(
  'with tenant.index a key is noted before it comes into being, and the note would wait in the transaction',
  'Use multi(), which sends a transaction at once, on the same connection.',
);
const NESTED = refuse(
  'a transaction is open on this connection',
  'Call its commands on the connection itself, and end it with exec() or discard() before anything else begins.',
);

// What a client is between two connections.
const GONE: ReadonlySet<string> = new Set(['close', 'reconnecting', 'end']);

/** What the server has queued between MULTI and EXEC. */
type Transaction = Sent[];

/**
 * What one connection of somebody's own holds on the server: watched keys, an open transaction. ioredis knows
 * nothing of it, and goes on after a reconnect as if it were still there.
 */
export class Session {
  readonly #status: () => string;
  readonly #isIndexed: () => boolean;
  #transaction: Transaction | undefined;
  #isWatching = false;
  #isLost = false;
  #isOver = false;

  /**
   * @param status - that of the connection
   * @param isIndexed - whether keys are noted before they come into being
   */
  constructor(status: () => string, isIndexed: () => boolean) {
    this.#status = status;
    this.#isIndexed = isIndexed;
  }

  /** The connection was closed. What it held is gone, also when there is another one soon. */
  lose(): void {
    this.#isLost ||= this.#isWatching || this.#transaction !== undefined;
  }

  /** Nothing more may be sent. */
  end(): void {
    this.#isOver = true;
  }

  get isOver(): boolean {
    return this.#isOver;
  }

  /** Why nothing may be done any more. */
  over(operation: string): Error | undefined {
    return this.#isOver ? refusal('cache', operation, OVER) : undefined;
  }

  /** Why no pipeline may be sent: none of it, since ioredis writes it as a whole. */
  barred(operation: string): Error | undefined {
    const isOpen = this.#transaction !== undefined;
    return this.over(operation) ?? (isOpen ? refusal('cache', operation, NESTED) : undefined);
  }

  /**
   * Called for everything that is about to be sent, in that order; once more for what has waited or is resent.
   *
   * @returns the error when it must not be sent
   */
  admit(sent: Sent): Error | undefined {
    const { name, where } = sent.row;
    const over = this.over(where.operation);
    if (over !== undefined) return over;
    if (GONE.has(this.#status())) this.lose();
    if (isPart(sent)) return this.#admitPart(sent);
    if (isRepeated(sent)) return this.#refuse(sent, LOST);
    switch (name) {
      case 'watch': {
        if (this.#isLost) return this.#begin(sent);
        this.#isWatching = true;
        return undefined;
      }
      case 'discard': {
        this.#clear();
        return undefined;
      }
      case 'multi': {
        if (this.#isIndexed()) return this.#refuse(sent, INDEXED);
        if (this.#isLost) return this.#begin(sent);
        // What has waited for the connection comes once more, in its order.
        if (this.#transaction !== undefined && !isFollowed(sent)) return this.#refuse(sent, NESTED);
        this.#transaction = open(sent);
        return undefined;
      }
      case 'exec': {
        if (this.#isLost) return this.#begin(sent);
        if (this.#transaction !== undefined) close(sent, this.#transaction);
        this.#clear();
        return undefined;
      }
      default: {
        if (this.#transaction === undefined) {
          if (name === 'unwatch') this.#clear();
          return undefined;
        }
        if (this.#isLost) return this.#refuse(sent, LOST);
        queue(sent, this.#transaction);
        return undefined;
      }
    }
  }

  // A transaction of a pipeline: all of it is refused, or nothing.
  #admitPart(sent: Sent): Error | undefined {
    const isEnd = sent.mark === BRACKET && sent.row.name === 'exec';
    const error = this.#isLost ? this.#refuse(sent, LOST) : undefined;
    if (isEnd) this.#clear();
    return error;
  }

  #begin(sent: Sent): Error {
    this.#clear();
    return this.#refuse(sent, LOST);
  }

  #refuse(sent: Sent, why: typeof LOST): Error {
    return refusal('cache', sent.row.where.operation, why);
  }

  #clear(): void {
    this.#transaction = undefined;
    this.#isWatching = false;
    this.#isLost = false;
  }
}

function open(multi: Sent): Transaction {
  // It must not be sent again: what was queued after it would run by itself.
  follow(multi, (reply) => reply);
  return [];
}

function queue(sent: Sent, transaction: Transaction): void {
  follow(sent, (reply) => {
    if (String(reply) !== 'QUEUED') return logicalReply(sent.row, sent.mark, reply);
    transaction.push(sent);
    return reply;
  });
}

// ioredis hands out the replies of EXEC as they come: they hold physical names.
function close(exec: Sent, queued: Transaction): void {
  follow(exec, (replies, { tenant }: TenantNames) => {
    if (!Array.isArray(replies)) return replies;
    if (replies.length !== queued.length)
      throw breach('cache', 'exec', 'replies came back that nobody has asked for', tenant);
    return queued.map((sent, place) => {
      const reply: unknown = replies[place];
      return reply instanceof Error ? sent.read(reply) : logicalReply(sent.row, sent.mark, reply);
    });
  });
}

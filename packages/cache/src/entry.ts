import { pass, type Where } from '@tenantkit/core';
import type { Argument } from './keyspec.ts';
import type { TenantNames } from './names.ts';
import { note } from './rare.ts';
import { rowOf, type Row } from './rows.ts';
import { Sent } from './sent.ts';

/**
 * What has become of the entries that were written before a command: a command whose entry could not be written
 * must not pass for done, since an erasure would not find its key. Commands whose keys are entered by one command
 * of ours have one of these in common.
 */
export class Entry {
  /** When it was sent, by the monotonic clock in milliseconds; nothing is known of one that failed. */
  at: number;
  error: Error | undefined = undefined;
  #due = 0;
  #waiting: (() => void)[] | undefined = undefined;

  constructor(at: number) {
    this.at = at;
  }

  /**
   * Whether the server has not answered yet. It answers before the command, unless that goes another way: while a slot
   * of a Cluster moves, what is new there is redirected, and what is not stays.
   */
  get isDue(): boolean {
    return this.#due > 0;
  }

  /** Calls `answered` as soon as it is not due any more. */
  wait(answered: () => void): void {
    (this.#waiting ??= []).push(answered);
  }

  sent(): void {
    this.#due += 1;
  }

  answered(): void {
    this.#due -= 1;
    if (this.#due > 0 || this.#waiting === undefined) return;
    for (const answered of this.#waiting.splice(0)) answered();
  }

  fail(error: Error): void {
    this.at = -Infinity;
    this.error ??= error;
  }
}

/**
 * A command on names of our own, for a tenant: the fence holds it back with the tenant's other commands, and
 * neither errors nor tracing show its arguments.
 *
 * @param heard - told the reply or the error at once, before whatever comes next is answered
 */
export function ownEntry(
  names: TenantNames,
  name: keyof typeof ROWS,
  args: readonly Argument[],
  heard: { reply(value: unknown): void; error(cause: Error): void },
): Sent {
  const { promise, resolve, reject } = Promise.withResolvers<unknown>();
  promise.catch(ignore);
  const caller = {
    command: {},
    promise,
    resolve: (value: unknown) => {
      resolve(value);
      heard.reply(value);
    },
    reject: (error: Error) => {
      reject(error);
      heard.error(error);
    },
    isMade: false,
  };
  return note(new Sent(names, ROWS[name], name, args, caller), []);
}

/** Whether a row is that of entries, which go where the command goes that they are for. */
export function isEntry({ where }: Row): boolean {
  return where === WHERE;
}

const WHERE: Where = Object.freeze({ surface: 'cache', operation: 'index' });

const ROWS = { zadd: ownRow('zadd'), eval: ownRow('eval'), evalsha: ownRow('evalsha'), del: ownRow('del') };

function ignore(): void {
  // Who has asked is told.
}

function ownRow(name: string): Row {
  const rule = pass('it names what is kept for the tenant, and no key of a caller');
  return Object.freeze({
    ...rowOf(name, []),
    where: WHERE,
    rule,
    first: false,
    scripting: false,
    read: undefined,
    name,
  });
}

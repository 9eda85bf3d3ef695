import { ConfigError } from '@tenantkit/core';
import { BELIEF, Beliefs } from './beliefs.ts';
import { Entry, ownEntry } from './entry.ts';
import { createdBy, mayCreate } from './created.ts';
import type { Argument } from './keyspec.ts';
import { TenantNames, type CacheNames } from './names.ts';
import { asPlumbing } from './plumbing.ts';
import {
  hasFixedSlot,
  indexedName,
  keyEntry,
  keysName,
  slotOf,
  slotTag,
  subjectEntry,
  subjectName,
} from './registry-names.ts';
import { RAW, Sent } from './sent.ts';
import { Trimmer } from './trim.ts';

/** Sends a command of ours right away. */
export type SendEntry = (command: Sent) => unknown;

// A command that waits in the server may bring its key into being much later: its entry is kept for so long.
const WAITING = 30 * 24 * 60 * 60 * 1_000;

// Entries in one command: the server is not held up by a long pipeline.
const CHUNK = 1_000;

/**
 * Notes every key before it comes into being: one entry in the sorted set of its tenant and, with a subject in the
 * context, one in that person's. The entry leaves on the same connection right before the command, so that a
 * crash in between leaves an entry too many, never a key too many.
 */
export class Registry {
  readonly #names: CacheNames;
  readonly #send: SendEntry;
  /** Whether there are registries per slot. */
  readonly perSlot: boolean;
  readonly #trimmer: Trimmer;
  readonly #beliefs: Beliefs;
  readonly #fixed = new WeakMap<TenantNames, boolean>();
  #turn: Turn | undefined;

  /**
   * @param perSlot - whether the client is a Cluster, which has registries per slot
   * @param send - sends right away, with redirections followed, outside of any tenant; never throws
   * @param lender - what is known of entries already, and how many there are to be looked at
   */
  constructor(names: CacheNames, perSlot: boolean, send: SendEntry, lender?: Registry) {
    this.#names = names;
    this.perSlot = perSlot;
    this.#send = send;
    this.#trimmer = lender === undefined ? new Trimmer() : lender.#trimmer;
    this.#beliefs = lender === undefined ? new Beliefs() : lender.#beliefs;
  }

  /** The same registry, over a connection that is lent: each is used too shortly to know it by itself. */
  over(send: SendEntry): Registry {
    return new Registry(this.#names, this.perSlot, send, this);
  }

  /** Sends the entries of commands that are about to be sent, all at once. */
  enter(commands: Iterable<Sent>): void {
    const turn = openTurn();
    for (const command of commands) this.#collect(command, turn);
    this.#write(turn);
  }

  /**
   * Sends a command with what it enters. The entries of one turn of the event loop leave together: so a command with
   * a new entry waits for the end of the turn, and with it, to keep their order, those that come after it.
   *
   * @param send - sends the command itself; never throws
   */
  follow(command: Sent, send: (command: Sent) => unknown): unknown {
    const turn = this.#turn ?? openTurn();
    this.#collect(command, turn);
    if (turn.wanted.size === 0) return send(command);
    if (this.#turn === undefined) {
      this.#turn = turn;
      process.nextTick(this.#flush);
    }
    turn.waiting.push([command, send]);
    return command.promise;
  }

  // The same for nextTick, made once.
  readonly #flush = (): void => this.flush();

  /** Sends at once what waits for the end of the turn. */
  flush(): void {
    const turn = this.#turn;
    if (turn === undefined) return;
    this.#turn = undefined;
    asPlumbing(() => {
      this.#write(turn);
      for (const [command, send] of turn.waiting) send(command);
    });
  }

  // Commands that come by once more, out of a queue or after a reconnect, get new entries when theirs have become
  // old or have failed.
  #collect(command: Sent, { now, wanted }: Turn): void {
    if (!mayCreate(command.row) || (command.entry !== undefined && now - command.entry.at < BELIEF)) return;
    const keys = createdBy(command);
    if (keys.length === 0) return;
    // Its own: what cannot be entered for one tenant is no error of another's.
    const entry = new Entry(now);
    for (const key of keys) {
      const believed = command.waits ? undefined : this.#beliefs.at(beliefOf(key, command.subject), now);
      if (believed === undefined) this.#want(wanted, command, key, entry);
      else entry.at = Math.min(entry.at, believed);
    }
    Sent.enter(command, entry);
  }

  #write({ wanted }: Turn): void {
    for (const [name, one] of wanted) this.#writeOne(name, one);
  }

  // Whatever it was named by when it was called: inside acrossTenants a raw name may be any tenant's.
  #want(wanted: Map<string, Wanted>, command: Sent, key: Argument, entry: Entry): void {
    const names = this.#tenantOf(command, key);
    if (names === undefined) return;
    const { subject } = command;
    const tag = this.#tag(names, key);
    const score = Date.now() + (command.waits ? WAITING : 0);
    const logical = names.decode(key, 'index');
    const add = (name: string, member: Argument): Wanted => {
      let one = wanted.get(name);
      if (one === undefined)
        wanted.set(name, (one = { names, tag, beliefs: [], entries: new Set(), members: [] }));
      one.members.push(`${score}`, member);
      one.entries.add(entry);
      return one;
    };
    let last = add(keysName(names.prefix, tag), keyEntry(logical));
    if (subject !== undefined) {
      // The set of the person is named first, or nobody would find it.
      add(keysName(names.prefix, tag), subjectEntry(subject));
      last = add(subjectName(names.prefix, subject, tag), keyEntry(logical));
    }
    if (!command.waits) last.beliefs.push([beliefOf(key, subject), entry]);
  }

  #writeOne(name: string, { names, tag, members, beliefs, entries }: Wanted): void {
    const answered = (): void => entries.forEach((entry) => entry.answered());
    for (let from = 0; from < members.length; from += 2 * CHUNK) {
      const some = members.slice(from, from + 2 * CHUNK);
      const isLast = from + some.length === members.length;
      const command = ownEntry(names, 'zadd', [name, 'GT', ...some], {
        reply: () => {
          if (isLast) for (const [belief, { at }] of beliefs) this.#beliefs.add(belief, at);
          this.#trimmer.wrote(this.#send, names, name, tag, some.length / 2);
          answered();
        },
        error: (cause) => {
          this.#failed(names, entries, cause);
          answered();
        },
      });
      for (const entry of entries) entry.sent();
      this.#send(command);
    }
  }

  #failed(names: TenantNames, entries: Iterable<Entry>, cause: Error): void {
    const error = new ConfigError({
      surface: 'cache',
      operation: 'index',
      problem:
        'the key could not be entered into the registry of the tenant, so an erasure might not find it',
      hint: 'Let the Redis user write names that begin with tk!, and look at the cause; the key may be stored.',
      cause,
    });
    for (const entry of entries) entry.fail(error);
    this.#beliefs.clear();
    // Without a reply there was no data either. Where the server says no to the entry alone, nobody may go by
    // the registries from now on.
    if (cause.name !== 'ReplyError') return;
    this.#send(
      ownEntry(names, 'del', [indexedName(names.template)], {
        reply: ignore,
        // The caller is told about the entry.
        error: ignore,
      }),
    );
  }

  #tenantOf({ mark }: Sent, key: Argument): TenantNames | undefined {
    if (mark instanceof TenantNames) return mark;
    const tenant = mark === RAW ? this.#names.codec.tenantOf(key.toString('latin1')) : undefined;
    return tenant === undefined ? undefined : this.#names.of(tenant);
  }

  #tag(names: TenantNames, key: Argument): string | undefined {
    if (!this.perSlot) return undefined;
    let fixed = this.#fixed.get(names);
    if (fixed === undefined) this.#fixed.set(names, (fixed = hasFixedSlot(names.prefix)));
    return fixed ? undefined : slotTag(slotOf(key));
  }
}

interface Wanted {
  readonly names: TenantNames;
  readonly tag: string | undefined;
  readonly members: Argument[];
  readonly beliefs: [belief: string, entry: Entry][];
  /** What hears of an error. */
  readonly entries: Set<Entry>;
}

/** What leaves together. */
interface Turn {
  readonly now: number;
  readonly wanted: Map<string, Wanted>;
  /** Commands, and what sends each. */
  readonly waiting: [command: Sent, send: (command: Sent) => unknown][];
}

function openTurn(): Turn {
  return { now: performance.now(), wanted: new Map(), waiting: [] };
}

// With a NUL in between, which no id holds.
function beliefOf(key: Argument, subject: string | undefined): string {
  const name = typeof key === 'string' ? key : key.toString('latin1');
  return subject === undefined ? name : `${subject}\0${name}`;
}

function ignore(): void {
  // Said above.
}

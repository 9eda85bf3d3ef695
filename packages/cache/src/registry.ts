import { ConfigError } from '@tenantkit/core';
import { corked, type BatchClient } from './batch.ts';
import { BELIEF, Beliefs } from './beliefs.ts';
import { Entry, ownEntry } from './entry.ts';
import { createdBy, mayCreate } from './created.ts';
import type { Argument } from './keyspec.ts';
import { RAW } from './mark.ts';
import { TenantNames, type CacheNames } from './names.ts';
import { asPlumbing } from './plumbing.ts';
import { asCalled, keepContext, subjectOf } from './rare.ts';
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
import { Sent } from './sent.ts';
import { Trimmer } from './trim.ts';
import { openTurn, openWanted, type Turn, type Wanted } from './turn.ts';

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
  readonly #sockets: BatchClient['sockets'];
  /** Whether there are registries per slot. */
  readonly perSlot: boolean;
  readonly #trimmer: Trimmer;
  readonly #beliefs: Beliefs;
  readonly #fixed = new WeakMap<TenantNames, boolean>();
  #turn: Turn | undefined;

  /**
   * @param perSlot - whether the client is a Cluster, which has registries per slot
   * @param send - sends right away, with redirections followed, outside of any tenant; never throws
   * @param sockets - those that commands may go to
   * @param lender - what is known of entries already, and how many there are to be looked at
   */
  constructor(
    names: CacheNames,
    perSlot: boolean,
    send: SendEntry,
    sockets: BatchClient['sockets'],
    lender?: Registry,
  ) {
    this.#names = names;
    this.perSlot = perSlot;
    this.#send = send;
    this.#sockets = sockets;
    this.#trimmer = lender === undefined ? new Trimmer() : lender.#trimmer;
    this.#beliefs = lender === undefined ? new Beliefs() : lender.#beliefs;
  }

  /** The same registry, over a connection that is lent: each is used too shortly to know it by itself. */
  over(send: SendEntry): Registry {
    // Nothing of a connection that is lent waits for the end of a turn.
    return new Registry(this.#names, this.perSlot, send, () => [], this);
  }

  /** Sends the entries of commands that are about to be sent, all at once. */
  enter(commands: Iterable<Sent>): void {
    const now = performance.now();
    let turn: Turn | undefined;
    for (const command of commands) turn = this.#collect(command, turn, now);
    if (turn !== undefined) this.#write(turn);
  }

  /**
   * Sends a command with what it enters. The entries of one turn of the event loop leave together: so a command with
   * a new entry waits for the end of the turn, and with it, to keep their order, those that come after it.
   *
   * @param send - sends the command itself; never throws
   */
  follow(command: Sent, send: (command: Sent) => unknown): unknown {
    const turn = this.#collect(command, this.#turn, performance.now());
    if (turn === undefined) return send(command);
    if (this.#turn === undefined) {
      this.#turn = turn;
      process.nextTick(this.#flush);
    }
    keepContext(command);
    turn.commands.push(command);
    turn.sends.push(send);
    return command.promise;
  }

  // The same for nextTick, made once.
  readonly #flush = (): void => this.flush();

  /** Sends at once what waits for the end of the turn. */
  flush(): void {
    const turn = this.#turn;
    if (turn === undefined) return;
    this.#turn = undefined;
    asPlumbing(() =>
      corked(this.#sockets(), () => {
        this.#write(turn);
        for (const [place, send] of turn.sends.entries()) asCalled(turn.commands[place] as Sent, send);
      }),
    );
  }

  // Commands that come by once more, out of a queue or after a reconnect, get new entries when theirs have become
  // old or have failed. Most have one key, which has been entered a moment ago or goes with the others of its turn.
  #collect(command: Sent, turn: Turn | undefined, now: number): Turn | undefined {
    if (!mayCreate(command.row)) return turn;
    const earlier = Sent.entryOf(command);
    if (earlier !== undefined && now - earlier.at < BELIEF) return turn;
    const keys = createdBy(command);
    if (earlier !== undefined) Sent.enter(command, undefined);
    const { waits } = command;
    const subject = subjectOf(command);
    // Of its own: what cannot be entered for one tenant is no error of another's.
    let own = keys.length === 1 && subject === undefined ? undefined : new Entry(now);
    let into = turn;
    for (const key of keys) {
      const belief = beliefOf(key, subject);
      const believed = waits ? undefined : this.#beliefs.at(belief, now);
      if (believed !== undefined) {
        if (own !== undefined) own.at = Math.min(own.at, believed);
        continue;
      }
      const names = this.#tenantOf(command, key);
      if (names === undefined) continue;
      into ??= openTurn(now);
      const one = this.#want(into, names, this.#tagOf(names, key, command), key, waits, own, command);
      own ??= one.entry;
      if (!waits) {
        one.beliefs.push(belief);
        one.believed.push(own);
      }
      Sent.enter(command, own);
    }
    return into;
  }

  #write({ wanted }: Turn): void {
    // A registry is one of a tenant, so this is for a call of that tenant.
    for (const one of wanted.values()) asCalled(one.first, () => this.#writeOne(one));
  }

  // Whatever it was named by when it was called: inside acrossTenants a raw name may be any tenant's.
  #want(
    { wanted, at, time }: Turn,
    names: TenantNames,
    tag: string | undefined,
    key: Argument,
    waits: boolean,
    own: Entry | undefined,
    command: Sent,
  ): Wanted {
    const subject = subjectOf(command);
    const score = waits ? `${time + WAITING}` : `${time}`;
    const member = keyEntry(names.decode(key, 'index'));
    const add = (to: string | undefined, what: Argument): Wanted => {
      // Without a tag the names of the tenant stand for its registry: no name is put together for every key.
      const by = to ?? (tag === undefined ? names : keysName(names.prefix, tag));
      let one = wanted.get(by);
      if (one === undefined) {
        const name = typeof by === 'string' ? by : keysName(names.prefix, tag);
        wanted.set(by, (one = openWanted(name, names, tag, at, command)));
      }
      one.members.push(score, what);
      if (own !== undefined) one.others.add(own);
      return one;
    };
    const one = add(undefined, member);
    if (subject === undefined) return one;
    // The set of the person is named first, or nobody would find it.
    add(undefined, subjectEntry(subject));
    return add(subjectName(names.prefix, subject, tag), member);
  }

  #writeOne({ name, names, tag, members, beliefs, believed, entry, others }: Wanted): void {
    const entries = [entry, ...others];
    const answered = (): void => entries.forEach((entry) => entry.answered());
    for (let from = 0; from < members.length; from += 2 * CHUNK) {
      const some = members.slice(from, from + 2 * CHUNK);
      const isLast = from + some.length === members.length;
      const command = ownEntry(names, 'zadd', [name, 'GT', ...some], {
        reply: () => {
          if (isLast)
            for (const [place, belief] of beliefs.entries())
              this.#beliefs.add(belief, believed[place]?.at ?? -Infinity);
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

  #tagOf(names: TenantNames, key: Argument, command: Sent): string | undefined {
    if (!this.perSlot) return undefined;
    let fixed = this.#fixed.get(names);
    if (fixed === undefined) this.#fixed.set(names, (fixed = hasFixedSlot(names.prefix)));
    if (fixed) return undefined;
    // A command of one key has its slot worked out for the way it goes anyway.
    return slotTag(command.row.first ? (command.getSlot() ?? slotOf(key)) : slotOf(key));
  }
}

// With a NUL in between, which no id holds.
function beliefOf(key: Argument, subject: string | undefined): string {
  const name = typeof key === 'string' ? key : key.toString('latin1');
  return subject === undefined ? name : `${subject}\0${name}`;
}

function ignore(): void {
  // Said above.
}

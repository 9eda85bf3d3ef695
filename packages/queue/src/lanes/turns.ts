import type { Picked } from './scripts.ts';

/** How many jobs of one lane a slot runs one after another, as long as they are short. */
const QUANTUM = 4;

/** So many turns are asked for at once at most. */
const MOST_TURNS = 1_000;

/** How long they may take together, and how old a look may be that has seen only one lane, in milliseconds. */
const SLICE = 5;

/** What was answered to a queue of turns. */
export type Found = Pick<Picked, 'turns' | 'ready' | 'due'> & {
  /** The lane whose job was taken along, for the slot that has asked. */
  readonly taken?: string | undefined;
};

/** What a queue of turns works with. */
export interface TurnsOptions {
  /** Asks the server for turns; called once at a time. */
  readonly pick: (wanted: number, slot?: string) => Promise<Found>;
  /** How many jobs the worker runs at once. */
  readonly concurrency: number;
  /** Hears of a pick that nobody waits for and that has failed. */
  readonly failed: (error: unknown) => void;
  /** A clock that never goes back, in milliseconds. */
  readonly clock?: () => number;
}

/** One slot of a worker on a lane. */
interface Seat {
  readonly tenant: string;
  left: number;
  spent: number;
  since: number;
}

/**
 * The turns of one worker: which lane each of its slots is to take its next job from. It knows no server. Slots are
 * named by the token under which BullMQ locks their jobs.
 *
 * A slot changes lanes after a quantum of jobs. Per change two scripts run instead of one, so a change per job would
 * halve what a worker does; and with `concurrency / 4` turns kept, who comes anew waits for about as many jobs as run
 * at once.
 */
export class Turns {
  readonly #options: TurnsOptions;
  readonly #clock: () => number;
  #width = 1;
  readonly #seats = new Map<string, Seat>();
  #turns: string[] = [];
  /** The only ready lane, when there is one: every slot may stay there, until a look that is younger says otherwise. */
  #only: string | undefined;
  #picking: Promise<string | undefined> | undefined;
  #pickedAt = -Infinity;
  /** Whether nothing was left for anybody when the last pick had taken a job along. */
  #isLast = false;
  #due = 0;
  /** How many picks were sent, and the last of them that has found nothing. */
  #sent = 0;
  #nothing = 0;
  /** How many slots wait for a turn. */
  #waiting = 0;

  constructor(options: TurnsOptions) {
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
    this.concurrency = options.concurrency;
  }

  /** How many jobs the worker runs at once from now on. */
  set concurrency(slots: number) {
    this.#width = Math.max(1, Math.ceil(slots / QUANTUM));
    // What is too many would be used up before anybody who comes anew has a turn.
    this.#turns.length = Math.min(this.#turns.length, this.#width);
  }

  /** When the first lane is due that has nothing to run now, as the last pick saw it; 0 when there is none. */
  get due(): number {
    return this.#due;
  }

  /**
   * Whether there was nothing left when the last job was taken, a moment ago. What has come since has set the wake-up
   * behind that: who waits for it now finds it.
   */
  get isDone(): boolean {
    const isYoung = this.#clock() - this.#pickedAt <= SLICE;
    return this.#isLast && isYoung && this.#turns.length === 0 && this.#picking === undefined;
  }

  /**
   * The lane of the next job, or `undefined` when there is nothing to do.
   *
   * The second answer counts only from a pick that was *sent after this call began* (W2). Who calls was woken, and
   * the marker that has woken him is gone: a pick that was under way by then may have looked before the job came, and
   * to join it would mean to go to sleep beside the job, with nobody left to wake.
   *
   * @param slot - for which a job may be taken along with the turns
   */
  async next(slot?: string): Promise<string | undefined> {
    const before = this.#sent;
    for (;;) {
      const tenant = this.take();
      if (tenant !== undefined) return tenant;
      if (this.#nothing > before) return undefined;
      this.#waiting += 1;
      try {
        // A turn is a turn, whoever has asked for it: so the pick under way is waited for as well.
        if (this.#picking !== undefined) await this.#picking;
        else {
          const taken = await this.#pick(this.#wanted, slot);
          if (taken !== undefined) return taken;
        }
      } finally {
        this.#waiting -= 1;
      }
    }
  }

  /** The next turn, if one is at hand. More are asked for while there are still some. */
  take(): string | undefined {
    const tenant = this.#turns.shift();
    if (tenant === undefined) {
      if (this.#only !== undefined && this.#clock() - this.#pickedAt > SLICE) this.#refill();
      return this.#only;
    }
    if (this.#turns.length <= this.#width / 2) this.#refill();
    return tenant;
  }

  /** A lane had no job after all: its other turns are void. It stays ready on the server until a pick sees that. */
  drop(tenant: string): void {
    if (this.#only === tenant) this.#only = undefined;
    this.#turns = this.#turns.filter((turn) => turn !== tenant);
  }

  /** A slot has got a job of a lane. */
  seat(slot: string, tenant: string): void {
    const since = this.#clock();
    const seat = this.#seats.get(slot);
    if (seat?.tenant === tenant) seat.since = since;
    else this.#seats.set(slot, { tenant, left: QUANTUM, spent: 0, since });
  }

  /** A slot asks for no further job, or has found none. */
  leave(slot: string): void {
    this.#seats.delete(slot);
  }

  /**
   * Where a slot goes that has finished a job: to the same lane, or to that of the next turn; `undefined` when none is
   * at hand, and {@link next} has to be asked.
   */
  after(slot: string): string | undefined {
    const seat = this.#seats.get(slot);
    if (seat !== undefined) {
      // Only the time in the processor counts. A loaded event loop is no reason to change lanes more often.
      seat.spent += this.#clock() - seat.since;
      seat.left -= 1;
      if (seat.left > 0 && seat.spent < SLICE) return seat.tenant;
      this.#seats.delete(slot);
    }
    return this.take();
  }

  /**
   * A turn for each slot that waits is used at once. Those beyond a width would wait themselves, a round trip each; beyond
   * a thousand one is no matter any more, and the server would serve nobody else meanwhile.
   */
  get #wanted(): number {
    return Math.min(Math.max(this.#width, this.#waiting), MOST_TURNS);
  }

  #refill(): void {
    if (this.#picking !== undefined) return;
    const wanted = this.#wanted - this.#turns.length;
    if (wanted > 0) this.#pick(wanted).catch(this.#options.failed);
  }

  /** @returns the lane whose job was taken along */
  #pick(wanted: number, slot?: string): Promise<string | undefined> {
    const picking = this.#ask(wanted, ++this.#sent, slot).finally(() => {
      this.#picking = undefined;
    });
    this.#picking = picking;
    return picking;
  }

  async #ask(wanted: number, number: number, slot?: string): Promise<string | undefined> {
    const { turns, ready, due, taken } = await this.#options.pick(wanted, slot);
    this.#pickedAt = this.#clock();
    this.#due = due;
    this.#isLast = taken !== undefined && ready === 0;
    if (turns.length === 0 && taken === undefined) this.#nothing = number;
    // What is left of the turns before stays: the server has charged its tenants for them.
    this.#only = ready === 1 ? (taken ?? turns[0]) : undefined;
    if (this.#only === undefined) this.#turns.push(...turns);
    return taken;
  }
}

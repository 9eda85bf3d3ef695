import { createHash } from 'node:crypto';
import { ConfigError } from '@tenantkit/core';

/** So many pages may be empty, one behind the other: a server may look at some names per page, and show none of them. */
const MAX_BARREN = 1000;

/**
 * Sees that a listing goes on. A server whose pages come round again would otherwise be listed for ever, by a plan or a
 * verification that nothing ends.
 *
 * What has been seen is not kept, which would be as much as the bucket has pages: one earlier page is compared with all
 * that follow, until twice as many have followed, then the one that is reached (R. P. Brent, "An improved Monte Carlo
 * factorization algorithm", 1980). No order of keys is taken for granted: of unfinished uploads, Ceph has one of its own.
 */
export class Advance {
  readonly #pages = new Cycle();
  #barren = 0;

  /**
   * @param first - the first name of the page that was not on the page before, if there is one
   * @throws ConfigError when the listing has been there
   */
  behind(first: object | undefined): void {
    this.#barren = first === undefined ? this.#barren + 1 : 0;
    const again = first !== undefined && this.#pages.returns(first);
    if (again || this.#barren > MAX_BARREN) throw broken('lists the same pages again and again');
  }
}

/** Whether a sequence comes round again; it says so at the latest when the circle was run through for the third time. */
class Cycle {
  #mark = '';
  #steps = 0;
  #until = 1;

  returns(to: object): boolean {
    // Names can be long, and may be about persons.
    const name = createHash('sha256').update(JSON.stringify(to)).digest('base64');
    if (name === this.#mark) return true;
    this.#steps += 1;
    if (this.#steps === this.#until) {
      this.#mark = name;
      this.#steps = 0;
      this.#until *= 2;
    }
    return false;
  }
}

/**
 * Where a page says that the next one begins.
 *
 * @throws ConfigError when it says that there is one, and not where: taken for the last one, it would hide all others
 */
export function follows(position: string | undefined): string {
  if (position === undefined || position === '')
    throw broken('says that there is more than it lists, and not where');
  return position;
}

function broken(what: string): ConfigError {
  return new ConfigError({
    surface: 'storage',
    operation: 'list',
    problem: `the server ${what}, so nobody can tell what else is in the bucket`,
    hint: 'Look whether something between changes or caches what listings answer; then try again.',
  });
}

/** @returns an error for whoever would list the same keys again, of which no request can say that they were seen */
export function stuck(): ConfigError {
  return new ConfigError({
    surface: 'storage',
    operation: 'list',
    problem: 'the bucket has so many keys of bytes that are no UTF-8 that it cannot be listed behind them',
    hint: 'Remove them with a tool of the server (radosgw-admin object rm on Ceph), then try again.',
  });
}

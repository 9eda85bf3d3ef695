import { ConfigError } from '@tenantkit/core';
import { flawed, flawsOf } from './mapping.ts';
import type { SearchSettings } from './options.ts';

/** The reply to `GET /<index>`, or `undefined` when there is no such index. */
export type Describe = (index: string) => Promise<unknown>;

// After so many milliseconds an index is looked at again: it may have been dropped and created anew, by a write
// of another service, with a mapping that the server has guessed.
const HOLDS_MS = 60_000;

/** Remembers which indices are fit for tenants. An index that is not is asked about again each time. */
export class IndexCheck {
  readonly #settings: SearchSettings;
  readonly #checkedAt = new Map<string, number>();
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(settings: SearchSettings) {
    this.#settings = settings;
  }

  /** Whether nothing has to be asked before a request to the index leaves. */
  holds(index: string): boolean {
    const checkedAt = this.#checkedAt.get(index);
    return checkedAt !== undefined && performance.now() - checkedAt < HOLDS_MS;
  }

  /** Forgets an index: the server says that it is gone. */
  forget(index: string): void {
    this.#checkedAt.delete(index);
  }

  /**
   * Looks at an index, once however many requests wait for it.
   *
   * @throws {@link ConfigError} when the index is missing, or not fit to hold several tenants
   */
  check(index: string, describe: Describe): Promise<void> {
    const running = this.#underWay.get(index);
    if (running !== undefined) return running;
    const started = this.#look(index, describe).finally(() => this.#underWay.delete(index));
    this.#underWay.set(index, started);
    return started;
  }

  async #look(index: string, describe: Describe): Promise<void> {
    const startedAt = performance.now();
    const described = await describe(index);
    if (described === undefined) throw missingIndex(index);
    const error = flawed(index, flawsOf(index, described, this.#settings));
    if (error !== undefined) throw error;
    this.#checkedAt.set(index, startedAt);
  }
}

/** The error for an index that is not there. A write must not create it: the server would guess the mapping. */
export function missingIndex(index: string): ConfigError {
  return new ConfigError({
    surface: 'search',
    operation: `index ${index}`,
    problem: `there is no index ${index}`,
    hint: 'Create it as an operator, acrossTenants({ reason, actor }, () => …), and run ensureTenantMapping(client, index).',
  });
}

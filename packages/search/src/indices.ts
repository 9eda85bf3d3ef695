import { ConfigError } from '@tenantkit/core';
import { flawed, flawsOf } from './mapping.ts';
import type { SearchSettings } from './options.ts';

/** The reply to `GET /<index>`, or `undefined` when there is no such index. */
export type Describe = (index: string) => Promise<unknown>;

// After so many milliseconds an index is looked at again: it may have been dropped and created anew, by a write
// of another service, with a mapping that the server has guessed.
const HOLDS_MS = 60_000;
// Until then the last answer counts while the server is asked in the background: were it waited for, a cluster manager
// that is busy would stop every tenant's requests to data nodes that answer.
const COUNTS_MS = 600_000;

/** Remembers which indices are fit for tenants. An index that is not is asked about again each time. */
export class IndexCheck {
  readonly #settings: SearchSettings;
  readonly #checkedAt = new Map<string, number>();
  readonly #underWay = new Map<string, Promise<void>>();

  constructor(settings: SearchSettings) {
    this.#settings = settings;
  }

  /** Whether a request to the index may leave: at once, while the index is looked at again, or after that. */
  state(index: string): 'fresh' | 'stale' | 'unknown' {
    const checkedAt = this.#checkedAt.get(index);
    const age = checkedAt === undefined ? Infinity : performance.now() - checkedAt;
    return age < HOLDS_MS ? 'fresh' : age < COUNTS_MS ? 'stale' : 'unknown';
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
    const error =
      described === undefined
        ? missingIndex(index)
        : flawed(index, flawsOf(index, described, this.#settings));
    if (error !== undefined) {
      this.#checkedAt.delete(index);
      throw error;
    }
    this.#checkedAt.set(index, startedAt);
  }
}

/** The error for an index that is not there. A write must not create it: the server would guess the mapping. */
export function missingIndex(index: string): ConfigError {
  const error = new ConfigError({
    surface: 'search',
    operation: `index ${index}`,
    problem: `there is no index ${index}`,
    hint: 'Create it as an operator, acrossTenants({ reason, actor }, () => …), and run ensureTenantMapping(client, index).',
  });
  missing.add(error);
  return error;
}

const missing: WeakSet<object> = new WeakSet();

/** Whether the check has found no index; a read of it is the server's to answer. */
export function isMissingIndex(error: unknown): boolean {
  return typeof error === 'object' && error !== null && missing.has(error);
}

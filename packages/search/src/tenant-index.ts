import { errors, type ApiResponse } from '@opensearch-project/opensearch';
import { controlTenant, type ErasureScope } from '@tenantkit/core';
import { setTimeout as delay } from 'node:timers/promises';
import { missingIndex } from './indices.ts';
import { isObject, type JsonObject } from './json.ts';
import { flawed, flawsOf, type Flaw } from './mapping.ts';
import type { Operate } from './operate.ts';
import type { SearchSettings } from './options.ts';

// Documents per request: a few seconds of work, so that a run can stop and report between two of them.
const BATCH = 5_000;

// How long deleted documents may be held for replicas, and how often to look.
const LEASE_MS = 90_000;
const LOOK_EVERY_MS = 1_000;

// What makes a count, or a deletion by query, mean another set of documents than the tenant's.
const UNCOUNTABLE: ReadonlySet<Flaw['code']> = new Set([
  'index_is_alias',
  'field_missing',
  'field_not_keyword',
  'field_altered',
]);

/** One index as the eraser sees it. */
export class TenantIndex {
  readonly name: string;
  readonly #operate: Operate;
  readonly #settings: SearchSettings;

  constructor(name: string, operate: Operate, settings: SearchSettings) {
    this.name = name;
    this.#operate = operate;
    this.#settings = settings;
  }

  /** @throws {@link ConfigError} when a query by tenant would not find exactly the tenant's documents */
  async check(): Promise<void> {
    const described = await this.#operate({ method: 'GET', path: `/${this.name}` });
    if (described === undefined) throw missingIndex(this.name);
    const flaws = flawsOf(this.name, described, this.#settings).filter(({ code }) => UNCOUNTABLE.has(code));
    const error = flawed(this.name, flaws);
    if (error !== undefined) throw error;
  }

  async count(scope: ErasureScope): Promise<number> {
    await this.#operate({ method: 'POST', path: `/${this.name}/_refresh` });
    const body = await this.#operate({
      method: 'POST',
      path: `/${this.name}/_count`,
      body: { query: this.#query(scope) },
    });
    // A count over some of the shards is no count.
    if (numberIn(body, '_shards', 'failed') !== 0) throw partial(this.name);
    return numberIn(body, 'count');
  }

  async deleteBatch(scope: ErasureScope): Promise<number> {
    await this.#operate({ method: 'POST', path: `/${this.name}/_refresh` });
    const body = await this.#operate({
      method: 'POST',
      path: `/${this.name}/_delete_by_query`,
      // A document that somebody writes at this moment is skipped, and found again in the next round.
      query: { conflicts: 'proceed', max_docs: BATCH, refresh: true },
      body: { query: this.#query(scope) },
    });
    const failures: unknown = body?.['failures'];
    if (Array.isArray(failures) && failures.length > 0) throw failed(failures[0]);
    return numberIn(body, 'deleted');
  }

  async findControl(withSubject: boolean): Promise<number> {
    const tenant = controlTenant();
    const path = `/${this.name}/_doc/${encodeURIComponent(this.#settings.names.encode(tenant, 'control'))}`;
    const { field, subjectsField } = this.#settings;
    await this.#operate({
      method: 'PUT',
      path,
      query: { refresh: true },
      body: { [field]: tenant, [subjectsField]: [tenant] },
    });
    try {
      return await this.count(withSubject ? { tenant, subject: tenant } : { tenant });
    } finally {
      await this.#operate({ method: 'DELETE', path, query: { refresh: true } });
    }
  }

  async deletedOnDisk(): Promise<number> {
    const body = await this.#operate({ method: 'GET', path: `/${this.name}/_stats/docs` });
    return numberIn(body, '_all', 'total', 'docs', 'deleted');
  }

  async merge(signal: AbortSignal): Promise<void> {
    await this.#untilReleased(signal);
    await this.#operate({ method: 'POST', path: `/${this.name}/_flush`, query: { force: true } });
    await this.#operate({
      method: 'POST',
      path: `/${this.name}/_forcemerge`,
      query: { max_num_segments: 1 },
    });
  }

  // A merge keeps what a retention lease still asks for. When the leases do not move in time the merge is done
  // all the same, and what stays is counted as kept.
  async #untilReleased(signal: AbortSignal): Promise<void> {
    const until = performance.now() + LEASE_MS;
    while (performance.now() < until && (await this.#heldByLeases())) {
      await delay(LOOK_EVERY_MS, undefined, { signal });
    }
  }

  async #heldByLeases(): Promise<boolean> {
    const body = await this.#operate({
      method: 'GET',
      path: `/${this.name}/_stats`,
      query: { level: 'shards' },
    });
    const shards = body?.['indices'];
    const copies =
      isObject(shards) && isObject(shards[this.name]) ? (shards[this.name] as JsonObject)['shards'] : {};
    return Object.values(copies ?? {})
      .flat()
      .some((copy: unknown) => isHeld(copy));
  }

  #query({ tenant, subject }: ErasureScope): JsonObject {
    const { field, subjectsField } = this.#settings;
    return {
      bool: {
        filter: [
          { term: { [field]: { value: tenant } } },
          ...(subject === undefined ? [] : [{ term: { [subjectsField]: { value: subject } } }]),
        ],
      },
    };
  }
}

function isHeld(copy: unknown): boolean {
  if (!isObject(copy)) return false;
  const { seq_no, retention_leases } = copy;
  const leases: unknown = isObject(retention_leases) ? retention_leases['leases'] : undefined;
  if (!isObject(seq_no) || !Array.isArray(leases)) return false;
  return leases.some(
    (lease: unknown) => isObject(lease) && Number(lease['retaining_seq_no']) <= Number(seq_no['max_seq_no']),
  );
}

function numberIn(body: unknown, ...path: readonly string[]): number {
  let value = body;
  for (const key of path) value = isObject(value) ? value[key] : undefined;
  if (typeof value === 'number') return value;
  // Taken for 0, an answer that nobody understands would pass for an erasure.
  throw new TypeError(`OpenSearch has answered without ${path.join('.')}`);
}

function failed(failure: unknown): Error {
  const body = isObject(failure) ? { error: failure['cause'], status: failure['status'] } : {};
  return new errors.ResponseError({ body, statusCode: 500, headers: null } as unknown as ApiResponse);
}

function partial(index: string): Error {
  return new errors.ResponseError({
    body: { error: { type: `the count over ${index} reached only some of its shards` }, status: 503 },
    statusCode: 503,
    headers: null,
  } as unknown as ApiResponse);
}

import {
  ConfigError,
  OperationRefusedError,
  assertId,
  controlTenant,
  publish,
  type Checkpoint,
  type EraseRun,
  type Eraser,
  type ErasureScope,
  type InventoryItem,
} from '@tenantkit/core';
import { z } from 'zod';
import type { Cluster, Redis } from './client.ts';
import { RawStore, assertGuarded, type RawStoreOptions } from './raw-store.ts';

/** Options of {@link cacheEraser}. */
export interface CacheEraserOptions extends RawStoreOptions {
  /** The name of this store in plans and certificates, by default `cache`. */
  readonly store?: string | undefined;
}

const schema = z.strictObject({
  store: z.string().min(1).optional(),
  timeout: z.number().int().positive().optional(),
});

const UNSUPPORTED =
  'keys do not say which person they are about yet; erase the tenant, or remove the person’s keys by name';

// Somebody who writes all the time is stopped by the fence, not by an eraser that never ends.
const MAX_PASSES = 10;

const CONTROL_SECONDS = 300;

/**
 * The eraser of one Redis or Cluster: removes every key of a tenant from the database that the client uses.
 *
 * It walks the keyspace with SCAN and removes with UNLINK, in batches, until a walk finds nothing. The cost is
 * that of the whole keyspace, whatever the size of the tenant.
 *
 * @param client - a client of this package; its `tenant` options say how keys are named
 * @throws {@link ConfigError} for another client, or unknown options
 *
 * @example
 * ```ts
 * import { Redis, cacheEraser } from '@tenantkit/cache';
 * const eraser = cacheEraser(new Redis());
 * const { items } = await eraser.plan({ tenant: 'acme' }); // [{ kind: 'keys', count: 1204 }]
 * ```
 */
export function cacheEraser(client: Redis | Cluster, options: CacheEraserOptions = {}): Eraser {
  const { store = 'cache', timeout } = parse(options);
  assertGuarded(client);
  const open = (operation: string, { tenant, subject }: ErasureScope): TenantStore => {
    assertId(tenant, 'tenant');
    // Taken for the tenant's, a person's erasure would remove everybody.
    if (subject !== undefined) throw refuseSubject(operation);
    const raw = new RawStore(client, `cacheEraser.${operation}`, `${operation} of a tenant`, { timeout });
    return new TenantStore(raw, tenant);
  };

  return {
    store,
    subjects: { unsupported: UNSUPPORTED },
    async plan(scope) {
      const keys = await open('plan', scope).count();
      return { store, items: [keys], kept: [] };
    },
    async erase(scope, run) {
      run.signal.throwIfAborted();
      const count = await open('erase', scope).erase(run);
      publish('erasure', {
        surface: 'cache',
        operation: 'erase',
        message: `${count} keys removed from ${store}.`,
        tenant: scope.tenant,
        actor: 'tenantkit/cacheEraser',
        extra: { store, count },
      });
      return { store, erased: [{ kind: 'keys', count }], kept: [] };
    },
    async verify(scope) {
      const own = open('verify', scope);
      const found = await own.findControl();
      return {
        store,
        remaining: [await own.count()],
        kept: [],
        control: {
          planted: 1,
          found,
          method:
            'a key of a throw-away tenant was written, found by the same SCAN over all masters, and removed',
        },
      };
    },
  };
}

class TenantStore {
  readonly #raw: RawStore;
  readonly #tenant: string;

  constructor(raw: RawStore, tenant: string) {
    this.#raw = raw;
    this.#tenant = tenant;
  }

  async count(): Promise<InventoryItem> {
    return { kind: 'keys', count: await this.#countOf(this.#tenant) };
  }

  async erase(run: EraseRun): Promise<number> {
    const { signal, checkpoint } = run;
    let erased = await load(checkpoint);
    for (let pass = 1; pass <= MAX_PASSES; pass += 1) {
      let found = 0;
      for await (const page of this.#pages(this.#tenant, signal)) {
        found += page.keys.length;
        erased += await this.#raw.unlink(page);
        await checkpoint.save(JSON.stringify({ erased }));
        run.progress({ kind: 'keys', done: erased });
      }
      if (found === 0) break;
    }
    return erased;
  }

  async findControl(): Promise<number> {
    const control = controlTenant();
    const key = this.#raw.wiring.guard.names.of(control).encode('control');
    // It expires by itself, should this process end before it is removed.
    await this.#raw.run((client) => client.set(key, '1', 'EX', CONTROL_SECONDS));
    try {
      return await this.#countOf(control);
    } finally {
      await this.#raw.run((client) => client.unlink(key));
    }
  }

  // A walk may meet a key twice, when the server resizes its table meanwhile.
  async #countOf(tenant: string): Promise<number> {
    const keys = new Set<string>();
    for await (const page of this.#pages(tenant)) {
      for (const key of page.keys) keys.add(key.toString('latin1'));
    }
    return keys.size;
  }

  #pages(tenant: string, signal?: AbortSignal): ReturnType<RawStore['pages']> {
    const match = this.#raw.wiring.guard.names.of(tenant).glob('*');
    return this.#raw.pages({ match, ...(signal === undefined ? {} : { signal }) });
  }
}

const state = z.strictObject({ erased: z.number().int().nonnegative() });

async function load(checkpoint: Checkpoint): Promise<number> {
  const saved = await checkpoint.load();
  if (saved === undefined) return 0;
  const result = z
    .string()
    .transform((text, context) => {
      try {
        return JSON.parse(text) as unknown;
      } catch {
        context.addIssue('not JSON');
        return z.NEVER;
      }
    })
    .pipe(state)
    .safeParse(saved);
  if (result.success) return result.data.erased;
  throw new ConfigError({
    surface: 'cache',
    operation: 'erase',
    problem: 'the checkpoint was not saved by this eraser',
    hint: 'Start the erasure of this store anew; what was removed is not counted again.',
    cause: result.error,
  });
}

function parse(options: CacheEraserOptions): z.infer<typeof schema> {
  const result = schema.safeParse(options);
  if (result.success) return result.data;
  throw new ConfigError({
    surface: 'cache',
    operation: 'cacheEraser',
    problem: z.prettifyError(result.error),
    hint: 'It takes store and timeout; how keys are named comes from the client.',
  });
}

function refuseSubject(operation: string): OperationRefusedError {
  return new OperationRefusedError({
    surface: 'cache',
    operation: `cacheEraser.${operation}`,
    why: UNSUPPORTED,
    instead: 'Leave subject away to erase the whole tenant.',
  });
}

import type { Finding } from '@tenantkit/core';
import { inspectRegistry, notEntered, ownNameOf } from './audit-registry.ts';
import type { Redis } from './client.ts';
import type { Guard } from './guard.ts';
import { RESERVED } from './names.ts';
import { idOf, startOf } from './portions.ts';
import type { RawStore } from './raw-store.ts';
import { StoredRegistry } from './stored-registry.ts';

/** What may be found. */
export const FINDINGS = {
  outside_every_tenant: {
    severity: 'high',
    message: 'A key belongs to no tenant: no tenant can read it, and no erasure finds it.',
    hint: 'Find out who writes past @tenantkit/cache. Where it is another program, such as BullMQ, name its prefix in the option known; else rename the key under its tenant, or remove it.',
  },
  unknown_reserved_name: {
    severity: 'medium',
    message: 'A key begins with tk!, which is reserved, and is none that a client with these names writes.',
    hint: 'Look whether clients with other names (tenant.names, hashTag) or a newer version of tenantkit share this store; else remove it.',
  },
  erased_tenant: {
    severity: 'critical',
    message: 'A key belongs to a tenant that was erased.',
    hint: 'Find out who still writes for that tenant, then run its erasure again.',
  },
  unknown_tenant: {
    severity: 'medium',
    message: 'Keys belong to a tenant that nobody knows.',
    hint: 'Look whether its id was mistyped, or whether the keys are no tenant’s at all: then rename them. One that is gone is erased under this id.',
  },
  broken_registry: {
    severity: 'high',
    message: 'A registry is no sorted set, so nothing can be entered into it and writing fails.',
    hint: 'Remove it, then run indexCache.',
  },
  foreign_entry: {
    severity: 'high',
    message: 'A registry holds entries that this package has not written. No eraser goes by them.',
    hint: 'Find out who writes to names that begin with tk!, then remove the registry and run indexCache.',
  },
  misplaced: {
    severity: 'high',
    message: 'Keys of a tenant are not in the place where tenant.place says that the tenant is.',
    hint: 'Left behind by a move, or written past @tenantkit/cache. Compare them with what is in the right place, then remove them: the tenant does not read them.',
  },
  doubled_prefix: {
    severity: 'medium',
    message: 'Keys begin with the prefix of their tenant twice.',
    hint: 'Take the prefix out of the code that builds it: this package puts it there. What was written so is found under the doubled name only; rename it.',
  },
  not_in_registry: {
    severity: 'high',
    message:
      'A key is missing in the registry of its tenant, though that is marked as complete: an erasure would find it only in its recount.',
    hint: 'Find out who writes without the option index, then run indexCache.',
  },
  without_expiry: {
    severity: 'info',
    message: 'Keys of a tenant have no time to live.',
    hint: 'Nothing to do, unless they were meant to expire.',
  },
  entry_without_key: {
    severity: 'info',
    message: 'Entries of a registry have no key: it has expired or was deleted.',
    hint: 'Nothing to do: they go while the tenant is written to, and with its erasure.',
  },
} as const satisfies Record<string, Pick<Finding, 'severity' | 'message' | 'hint'>>;

type Code = keyof typeof FINDINGS;

interface Found {
  readonly code: Code;
  readonly name: Buffer;
}

/** One walk over all keys. */
export class Audit {
  readonly #raw: RawStore;
  readonly #guard: Guard;
  readonly #known: readonly string[];
  readonly #isTenant: ((tenant: string) => boolean | Promise<boolean>) | undefined;
  readonly #isHere: (tenant: string) => boolean;
  readonly #details: boolean;
  readonly #signal: AbortSignal;
  readonly #asked = new Map<string, boolean>();
  readonly #counts = new Map<string, { readonly code: Code; readonly name: Buffer; count: number }>();
  #isComplete: boolean | undefined;

  constructor(
    raw: RawStore,
    known: readonly string[],
    isTenant: ((tenant: string) => boolean | Promise<boolean>) | undefined,
    isHere: (tenant: string) => boolean,
    details: boolean,
    signal: AbortSignal,
  ) {
    this.#raw = raw;
    this.#guard = raw.wiring.guard;
    this.#known = known;
    this.#isTenant = isTenant;
    this.#isHere = isHere;
    this.#details = details;
    this.#signal = signal;
  }

  async page(node: Redis, keys: readonly Buffer[]): Promise<Found[]> {
    const found: Found[] = [];
    const byTenant = new Map<string, Buffer[]>();
    for (const key of keys) {
      // Every prefix is plain ASCII, which this keeps byte for byte.
      const name = startOf(key);
      if (name.startsWith(RESERVED)) {
        for (const code of await this.#reserved(key, name)) found.push({ code, name: key });
        continue;
      }
      const tenant = this.#guard.names.codec.tenantOf(name);
      if (tenant === undefined) {
        if (!this.#known.some((prefix) => name.startsWith(prefix)))
          found.push({ code: 'outside_every_tenant', name: key });
        continue;
      }
      if (this.#guard.fence?.state(tenant) === 'erased') found.push({ code: 'erased_tenant', name: key });
      const own = byTenant.get(tenant);
      if (own === undefined) byTenant.set(tenant, [key]);
      else own.push(key);
    }
    for (const [tenant, own] of byTenant) found.push(...(await this.#tenant(node, tenant, own)));
    return found;
  }

  /** What is told once per tenant. */
  counts(): Iterable<Found & { readonly count: number }> {
    return this.#counts.values();
  }

  async #reserved(key: Buffer, name: string): Promise<Code[]> {
    const own = ownNameOf(this.#raw, name);
    if (own === undefined) return ['unknown_reserved_name'];
    if (own === 'mark') return [];
    if (this.#guard.fence?.state(own.tenant) === 'erased') return ['erased_tenant'];
    const { broken, foreign, dead } = await inspectRegistry(this.#raw, own, name, {
      deep: this.#details,
      signal: this.#signal,
    });
    this.#count('entry_without_key', key, dead);
    return [
      ...(broken ? (['broken_registry'] as const) : []),
      ...(foreign > 0 ? (['foreign_entry'] as const) : []),
    ];
  }

  async #tenant(node: Redis, tenant: string, keys: readonly Buffer[]): Promise<Found[]> {
    const names = this.#guard.names.of(tenant);
    const prefix = Buffer.from(names.prefix);
    if (!(await this.#exists(tenant))) this.#count('unknown_tenant', prefix, keys.length);
    if (!this.#isHere(tenant)) this.#count('misplaced', prefix, keys.length);
    const twice = Buffer.from(names.encode(names.prefix));
    const doubled = keys.filter((key) => key.subarray(0, twice.length).equals(twice));
    this.#count('doubled_prefix', twice, doubled.length);
    if (this.#details) {
      const ttls = await this.#raw.numbersAt(
        node,
        keys.map((key) => ['pttl', key]),
      );
      this.#count('without_expiry', prefix, ttls.filter((ttl) => ttl === -1).length);
    }
    this.#isComplete ??=
      this.#raw.wiring.tenant.index === true && (await new StoredRegistry(this.#raw, names).isComplete());
    if (!this.#isComplete) return [];
    const missing = await notEntered(this.#raw, names, keys);
    return missing.map((name) => ({ code: 'not_in_registry', name }));
  }

  async #exists(tenant: string): Promise<boolean> {
    if (this.#isTenant === undefined) return true;
    const known = this.#asked.get(tenant) ?? (await this.#isTenant(tenant));
    this.#asked.set(tenant, known);
    return known;
  }

  #count(code: Code, name: Buffer, count: number): void {
    if (count === 0) return;
    const id = `${code} ${idOf(name)}`;
    const held = this.#counts.get(id);
    if (held === undefined) this.#counts.set(id, { code, name, count });
    else held.count += count;
  }
}

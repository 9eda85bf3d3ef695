import type { Scope } from '@tenantkit/core';
import { EventEmitter } from 'node:events';
import type { Held } from './holdings.ts';
import type { Kind } from './channels.ts';
import type { Guard } from './guard.ts';
import { RAW, type Mark } from './mark.ts';
import { TenantNames } from './names.ts';

/** Who subscribes and listens: one tenant, or whoever works across tenants. */
export interface Holder {
  readonly key: HolderKey;
  readonly names: TenantNames | undefined;
  readonly held: Readonly<Record<Kind, Held>>;
  readonly emitter: EventEmitter;
}

type HolderKey = string | typeof RAW;

// How often erased tenants are looked for at most, in milliseconds.
const SWEPT = 1000;

/** Who has subscribed to something on one client, or listens there. */
export class Holders {
  readonly #guard: Guard;
  readonly #holders = new Map<HolderKey, Holder>();
  #sweptAt = -Infinity;

  constructor(guard: Guard) {
    this.#guard = guard;
  }

  /** The one of a tenant, or of all who work across tenants; made when there is none. */
  of(key: HolderKey): Holder {
    let holder = this.#holders.get(key);
    if (holder === undefined) {
      const names = key === RAW ? undefined : this.#guard.names.of(key);
      const held = { subscribe: new Map(), psubscribe: new Map(), ssubscribe: new Map() };
      holder = { key, names, held, emitter: new EventEmitter() };
      this.#holders.set(key, holder);
    }
    return holder;
  }

  /** The one for whom a command was admitted. */
  for(mark: Mark): Holder | undefined {
    if (mark === RAW) return this.of(RAW);
    return mark instanceof TenantNames ? this.of(mark.tenant) : undefined;
  }

  /** The one of this key, if there is one. */
  peek(key: HolderKey): Holder | undefined {
    return this.#holders.get(key);
  }

  all(): Iterable<Holder> {
    return this.#holders.values();
  }

  /** The tenants that were erased: a tombstone is permanent, so that what they have here would stay for ever. */
  *erased(): Iterable<string> {
    const now = performance.now();
    if (this.#guard.fence === undefined || now - this.#sweptAt < SWEPT) return;
    this.#sweptAt = now;
    for (const holder of this.#holders.values())
      if (holder.key !== RAW && this.isErased(holder)) yield holder.key;
  }

  isErased({ key }: Holder): boolean {
    return key !== RAW && this.#guard.fence?.state(key) === 'erased';
  }

  isActive({ key }: Holder): boolean {
    const { fence } = this.#guard;
    return fence === undefined || key === RAW || fence.state(key) === 'active';
  }

  /** Forgets who neither listens nor subscribes: a service with many tenants must not keep something of each for ever. */
  prune(holder: Holder): void {
    const isIdle = !hasSubscribed(holder) && holder.emitter.eventNames().length === 0;
    if (isIdle && this.#holders.get(holder.key) === holder) this.#holders.delete(holder.key);
  }
}

export function hasSubscribed({ held }: Holder): boolean {
  return Object.values(held).some(({ size }) => size > 0);
}

/** How many names count for an acknowledgement of this kind. */
export function countOf({ held }: Holder, kind: Kind): number {
  const { subscribe, psubscribe, ssubscribe } = held;
  return kind === 'ssubscribe' ? ssubscribe.size : subscribe.size + psubscribe.size;
}

/** Under which key a scope subscribes and listens. */
export function keyOf({ tenant }: Scope): HolderKey {
  return tenant === undefined ? RAW : tenant.tenant;
}

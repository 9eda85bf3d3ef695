import { newestOf, type KeyRecord } from './record.ts';

/** What {@link Keyring.status} and {@link Keyring.list} tell of a tenant: never a secret. */
export interface TenantKeyStatus {
  readonly tenant: string;
  readonly state: 'none' | 'live' | 'shredded';
  readonly epochs: readonly {
    readonly epoch: number;
    readonly state: 'active' | 'decrypt-only' | 'shredded';
    /** RFC 3339; absent once shredded. */
    readonly createdAt?: string;
  }[];
  /** RFC 3339. */
  readonly shreddedAt?: string;
}

/** What a stored record tells. */
export function describe(tenant: string, held: KeyRecord | undefined): TenantKeyStatus {
  if (held === undefined) return { tenant, state: 'none', epochs: [] };
  if (held.state === 'shredded') {
    const epochs = held.destroyed.map((epoch) => ({ epoch, state: 'shredded' as const }));
    return { tenant, state: 'shredded', epochs, shreddedAt: held.shreddedAt };
  }
  const newest = newestOf(held);
  const epochs = held.epochs.map(({ epoch, createdAt }) => ({
    epoch,
    state: epoch === newest ? ('active' as const) : ('decrypt-only' as const),
    createdAt,
  }));
  return { tenant, state: 'live', epochs };
}

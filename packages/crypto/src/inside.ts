import { ConfigError, type TenantContext } from '@tenantkit/core';
import type { Keyring } from './keyring.ts';
import type { KeyLoader } from './loader.ts';
import type { KeyStore } from './store.ts';
import type { MasterKey } from './wrap.ts';

/** What the rest of this package sees of a keyring. */
export interface Inside {
  readonly loader: KeyLoader;
  readonly store: KeyStore;
  readonly master: MasterKey;
  /** Whether first use may make a key. */
  readonly create: boolean;
  /** The tenant at work. @throws when there is none, or the fence holds it back */
  readonly enter: (operation: string) => TenantContext;
  /** Asks the fence once more, after an await. @throws {@link TenantFencedError} */
  readonly check: (operation: string, tenant: string) => void;
}

const insides = new WeakMap<Keyring, Inside>();

/** Called by the keyring's own constructor only. */
export function admit(keyring: Keyring, inside: Inside): void {
  insides.set(keyring, inside);
}

/** @throws {@link ConfigError} for anything that {@link Keyring.open} did not make */
export function insideOf(keyring: Keyring): Inside {
  const found = insides.get(keyring);
  if (found !== undefined) return found;
  throw new ConfigError({
    surface: 'crypto',
    problem: 'this is not a Keyring',
    hint: 'Pass what `await Keyring.open({ master, store })` gives, from the same copy of @tenantkit/crypto.',
  });
}

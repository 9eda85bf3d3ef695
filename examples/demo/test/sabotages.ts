/** One guard of one adapter, and the source without it. */
export interface Sabotage {
  /** The row of the demo's summary that must show it. */
  readonly surface: string;
  readonly what: string;
  readonly file: string;
  readonly guard: string;
  readonly without: string;
}

/** What the demo must notice, per surface. */
export const SABOTAGES: Readonly<Record<string, Sabotage>> = {
  cacheKeys: {
    surface: 'cache',
    what: 'keys are not scoped',
    file: '/packages/cache/src/rewrite.ts',
    guard: "if (typeof key === 'string') args[0] = names.prefix + key;",
    without: "if (typeof key === 'string') args[0] = key;",
  },
  storageKeys: {
    surface: 'storage',
    what: 'keys are not scoped',
    file: '/packages/storage/src/names.ts',
    guard: 'return `${prefix}${key as string}`;',
    without: 'return key as string;',
  },
  queueSignature: {
    surface: 'queue',
    what: 'a signature is not compared',
    file: '/packages/queue/src/header.ts',
    guard: '!key.verify(',
    without: 'false && !key.verify(',
  },
  searchFilter: {
    surface: 'search',
    what: 'queries are not filtered',
    file: '/packages/search/src/inject.ts',
    guard: 'filter: [{ term: { [field]: { value: context.tenant } } }],',
    without: 'filter: [{ exists: { field } }],',
  },
  cryptoBinding: {
    surface: 'crypto',
    what: 'a ciphertext is not bound to its row',
    file: '/packages/crypto/src/seal.ts',
    guard: 'return row === undefined ? context :',
    without: 'return row !== undefined ? context :',
  },
  noTenant: {
    surface: 'cache',
    what: 'a call without a tenant runs in some default one',
    file: '/packages/core/src/context.ts',
    guard: 'if (scope === undefined) throw missing(where);',
    without: "if (scope === undefined) return { tenant: { tenant: 'acme' }, bypass: undefined };",
  },
};

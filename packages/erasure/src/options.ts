import { ConfigError, parseOptions, type Eraser, type TenantRegistry } from '@tenantkit/core';
import { z } from 'zod';
import { line } from './events.ts';
import type { Ledger } from './ledger.ts';
import type { Signer } from './signer.ts';

/** Options of {@link createErasure}. */
export interface ErasureOptions {
  /** Every store that holds data of tenants; what is not in this list is not erased, and not in a certificate. */
  readonly stores: readonly Eraser[];
  readonly ledger: Ledger;
  readonly signer: Signer;
  /** Keeps every process from writing for the tenant meanwhile. Without one the certificate says that there was none. */
  readonly fence?: TenantRegistry;
  /** Now, in milliseconds since the epoch. Default `Date.now`. */
  readonly clock?: () => number;
  /** Longest silence of a store (no answer, progress or checkpoint) in milliseconds. Default 5 minutes. */
  readonly storeTimeout?: number;
  /** Oldest plan that a run begins with, in milliseconds. Default 7 days. */
  readonly planMaxAge?: number;
  /** How long a process that has died keeps others from going on, in milliseconds; renewed at a third. Default 30 s. */
  readonly leaseTtl?: number;
}

const DAY = 86_400_000;

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const milliseconds = z.int().min(1).max(0x7fff_ffff);
const optionsSchema = z.strictObject({
  stores: z
    .array(
      z.custom<Eraser>((value) => isObject(value) && line(256).safeParse((value as Eraser).store).success),
    )
    .min(1, 'at least one store'),
  ledger: z.custom<Ledger>(isObject, 'a ledger, such as sqliteLedger(file)'),
  signer: z.custom<Signer>(isObject, 'a signer: await createSigner({ privateKey })'),
  fence: z.custom<TenantRegistry>(isObject, 'a TenantRegistry').optional(),
  clock: z.custom<() => number>((value) => typeof value === 'function', 'a function').optional(),
  storeTimeout: milliseconds.default(300_000),
  planMaxAge: milliseconds.default(7 * DAY),
  leaseTtl: milliseconds.min(100).default(30_000),
});

/** The options with their defaults. @throws {@link ConfigError} */
export function parseErasureOptions(options: ErasureOptions): z.infer<typeof optionsSchema> {
  const parsed = parse('createErasure', optionsSchema, options);
  assertUnique(parsed.stores);
  return parsed;
}

/** Checks what a caller gave. @throws {@link ConfigError} that names the path, never the value */
export function parse<T>(operation: string, schema: z.ZodType<T>, value: unknown): T {
  return parseOptions('erasure', schema, value, operation);
}

function assertUnique(stores: readonly Eraser[]): void {
  const names = stores.map(({ store }) => store);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice === undefined) return;
  throw new ConfigError({
    surface: 'erasure',
    operation: 'createErasure',
    problem: `two stores are called ${twice}`,
    hint: 'Give each a name of its own: a certificate has to tell them apart.',
  });
}

import { ConfigError, type Auditor, type Eraser, type TenantRegistry } from '@tenantkit/core';
import type { Ledger, Signer, VerificationKeys } from '@tenantkit/erasure';
import { z } from 'zod';

interface SharedConfig {
  /** Refuses work for tenants that are being erased, in every process. */
  readonly fence?: TenantRegistry;
  /** Called at the end, whatever has happened: closes the clients. The ledger and the fence are closed by the command. */
  readonly close?: () => void | Promise<void>;
}

/** What `tenantkit.config.ts` says. */
export interface ErasureConfig extends SharedConfig {
  /** Every store that holds data of tenants; each adapter exports its eraser. */
  readonly stores: readonly Eraser[];
  readonly ledger: Ledger;
  /** Signs certificates. */
  readonly signer: Signer;
  /** Public keys that `certificate verify` trusts when no `--key` is given. Default: that of `signer`. */
  readonly keys?: VerificationKeys;
  /** What `tenantkit audit` asks; each adapter exports its auditor. */
  readonly auditors?: readonly Auditor[];
  /** Longest silence of a store in milliseconds, default 5 minutes. */
  readonly storeTimeout?: number;
  /** Oldest plan that a run begins with, in milliseconds, default 7 days. */
  readonly planMaxAge?: number;
}

/** What it says where only `tenantkit audit` runs: whoever audits needs neither the signing key nor a right to erase. */
export interface AuditConfig extends SharedConfig {
  readonly auditors: readonly Auditor[];
}

/** What `tenantkit.config.ts` says: that of erasures, or of audits alone. */
export type Config = ErasureConfig | AuditConfig;

/** A configuration, or a function that makes one; see {@link defineConfig}. */
export type ConfigSource = Config | (() => Config | Promise<Config>);

/**
 * Gives `tenantkit.config.ts` its types. A function is called once, by commands that need the stores.
 *
 * @example
 * ```ts
 * // tenantkit.config.ts
 * import { cacheEraser, Redis } from '@tenantkit/cache';
 * import { defineConfig } from '@tenantkit/cli';
 * import { createSigner, sqliteLedger } from '@tenantkit/erasure';
 *
 * export default defineConfig(async () => {
 *   const redis = new Redis(process.env.REDIS_URL ?? 'redis://127.0.0.1:6379');
 *   return {
 *     stores: [cacheEraser(redis)],
 *     ledger: sqliteLedger('/var/lib/tenantkit/erasures.db'),
 *     signer: await createSigner({ privateKey: JSON.parse(process.env.ERASURE_KEY ?? '') }),
 *     close: () => redis.disconnect(),
 *   };
 * });
 * ```
 */
export function defineConfig<const Source extends ConfigSource>(config: Source): Source {
  return config;
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;
const isFunction = (value: unknown): boolean => typeof value === 'function';
const milliseconds = z.int().min(1).exactOptional();

const shared = {
  fence: z.custom<TenantRegistry>(isObject, 'must be a TenantRegistry').exactOptional(),
  close: z.custom<NonNullable<Config['close']>>(isFunction, 'must be a function').exactOptional(),
};
const auditor = z.custom<Auditor>(isObject, 'must be an auditor');

const auditSchema = z.strictObject({
  ...shared,
  auditors: z.array(auditor).min(1, 'must name at least one auditor'),
}) satisfies z.ZodType<AuditConfig>;

const erasureSchema = z.strictObject({
  ...shared,
  stores: z.array(z.custom<Eraser>(isObject, 'must be an eraser')).min(1, 'must name at least one store'),
  ledger: z.custom<Ledger>(isObject, 'must be a ledger, such as sqliteLedger(file)'),
  signer: z.custom<Signer>(isObject, 'must be a signer: await createSigner({ privateKey })'),
  keys: z.custom<VerificationKeys>(isObject, 'must be a JWKS or a list of public keys').exactOptional(),
  auditors: z.array(auditor).exactOptional(),
  storeTimeout: milliseconds,
  planMaxAge: milliseconds,
}) satisfies z.ZodType<ErasureConfig>;

/** Without one of these, nobody means to erase. */
const OF_ERASURES = ['stores', 'ledger', 'signer'];

/**
 * Checks what a configuration file exports.
 *
 * @throws {@link ConfigError} that names the path of what is wrong, never its value
 */
export async function resolveConfig(exported: unknown): Promise<Config> {
  const given: unknown = typeof exported === 'function' ? await (exported as () => unknown)() : exported;
  const result = schemaOf(given).safeParse(given);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = (issue?.path ?? []).join('.');
  throw new ConfigError({
    surface: 'cli',
    operation: 'config',
    problem: path === '' ? (issue?.message ?? 'not accepted') : `${path}: ${issue?.message}`,
    hint: 'Export defineConfig({ stores, ledger, signer, … }) as default, or defineConfig({ auditors }) for audits alone; see the README of @tenantkit/cli.',
  });
}

function schemaOf(given: unknown): z.ZodType<Config> {
  const isAudit =
    typeof given === 'object' &&
    given !== null &&
    'auditors' in given &&
    !OF_ERASURES.some((name) => name in given);
  return isAudit ? auditSchema : erasureSchema;
}

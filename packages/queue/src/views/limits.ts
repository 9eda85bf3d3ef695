import { ConfigError, assertId, parseOptions, refusal, refuse, requireScope } from '@tenantkit/core';
import { z } from 'zod';
import type { Lane } from '../lanes/lane.ts';
import type { LaneStore } from '../lanes/store.ts';
import { writeLimits } from './scripts.ts';

/** What one tenant may use of a queue. What is left out is not limited. */
export interface TenantLimits {
  /** How many of its jobs run at once, over all workers; an integer from 1 up. */
  readonly concurrency?: number;
  /** How many of its jobs begin within a time: at most `max` in each `duration` of milliseconds. */
  readonly rate?: { readonly max: number; readonly duration: number };
  /** How many turns it gets for one of a tenant without a weight, while both have jobs waiting: 1 to 1000, default 1. */
  readonly weight?: number;
}

/** The highest weight: whoever hands out turns cuts it to this. */
const MAX_WEIGHT = 1_000;

/** What the field `limits` of a lane's meta holds when its limits are its own. */
const OWN = 'own';

const positive = z.number().int().positive();

const fields = {
  concurrency: positive.optional(),
  rate: z.strictObject({ max: positive, duration: positive }).optional(),
  weight: positive.max(MAX_WEIGHT).optional(),
};
const schema = z.strictObject(fields);

const FOR_OPERATORS = refuse(
  'it is about the limits of tenants, which none of them sets',
  'An operator calls it inside acrossTenants({ reason, actor }, () => …).',
);

/**
 * Lets only an operator through.
 *
 * @throws {@link MissingTenantError} outside of any scope
 * @throws {@link OperationRefusedError} inside a tenant
 */
export function demandOperator(operation: string): void {
  if (requireScope({ surface: 'queue', operation }).bypass === undefined)
    throw refusal('queue', operation, FOR_OPERATORS);
}

/**
 * Takes the default limits out of the option `tenant` of a Worker.
 *
 * @throws {@link ConfigError} when one of them is not usable
 */
export function defaultLimits(tenant: unknown): { readonly limits: TenantLimits; readonly rest: unknown } {
  if (typeof tenant !== 'object' || tenant === null) return { limits: {}, rest: tenant };
  const given: Record<string, unknown> = {};
  const rest: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(tenant))
    Object.defineProperty(Object.hasOwn(fields, name) ? given : rest, name, { value, enumerable: true });
  return { limits: parseOptions('queue', schema, given) as TenantLimits, rest };
}

/** Replaces the limits of a tenant; they hold from the next job on. */
export async function setLimits(store: LaneStore, tenant: string, given: TenantLimits): Promise<void> {
  const operation = 'setTenantLimits';
  assertId(tenant);
  const { concurrency, rate, weight } = parseOptions('queue', schema, given, operation);
  const { fence } = store.context;
  if (fence !== undefined) await store.connected();
  // Nothing is written for a tenant that is being erased.
  fence?.check(tenant, { surface: 'queue', operation });
  const lane = await store.registered(tenant);
  const isNone = concurrency === undefined && rate === undefined && weight === undefined;
  await writeLimits(lane, [
    ['concurrency', text(concurrency)],
    ['max', text(rate?.max)],
    ['duration', text(rate?.duration)],
    ['weight', text(weight)],
    // Those of all workers are for lanes that do not say so.
    ['limits', isNone ? '' : OWN],
  ]);
  // A limit that is raised may set jobs free that wait for its end.
  store.touch(tenant);
}

/**
 * The limits of a tenant.
 *
 * @throws {@link ConfigError} when what is stored is no limit: somebody has written it past us, and nothing runs
 */
export async function limitsOf(lane: Lane): Promise<TenantLimits> {
  const meta: Readonly<Record<string, string | undefined>> = await lane.getQueueMeta();
  const { concurrency, max, duration, weight, limits = OWN } = meta;
  // The default of the workers, which each of them may change.
  if (limits !== OWN) return {};
  const found = {
    ...(concurrency === undefined ? {} : { concurrency: Number(concurrency) }),
    ...(max === undefined || duration === undefined
      ? {}
      : { rate: { max: Number(max), duration: Number(duration) } }),
    ...(weight === undefined ? {} : { weight: Number(weight) }),
  };
  const result = schema.safeParse(found);
  if (result.success) return found;
  throw new ConfigError({
    surface: 'queue',
    operation: 'getTenantLimits',
    problem: 'what is stored as the limits of the tenant are none',
    hint: 'Set them anew with setTenantLimits: no job of the tenant runs until then.',
  });
}

function text(limit: number | undefined): string {
  return limit === undefined ? '' : String(limit);
}

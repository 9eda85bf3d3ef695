import { randomUUID } from 'node:crypto';
import {
  CrossTenantError,
  assertId,
  currentTenant,
  publish,
  type ErasureScope,
  type Inventory,
} from '@tenantkit/core';
import { z } from 'zod';
import {
  ErasureConflictError,
  ErasureInterruptedError,
  ErasureNotFoundError,
  ErasureStateError,
} from './errors.ts';
import { askedSchema, line } from './events.ts';
import { Journal, announce } from './journal.ts';
import type { ErasureSummary } from './ledger.ts';
import { parse, parseErasureOptions, type ErasureOptions } from './options.ts';
import { planStores } from './plan.ts';
import type { ErasureRecord } from './record.ts';
import { runErasure, type ErasureProgress } from './run.ts';
import { hasBegun, isTerminal } from './states.ts';
import { digestSubject } from './subject.ts';

/** Who asks for what to be erased, and why. */
export interface ErasureRequest extends ErasureScope {
  /** For the certificate: one line of at most 1 024 characters. */
  readonly reason: string;
  /** For the certificate: one line of at most 256 characters. */
  readonly requestedBy: string;
}

/** The answer to {@link Erasure.request}. */
export interface RequestedErasure {
  readonly id: string;
  /** Whether it is an erasure of the same scope that was open already. */
  readonly joined: boolean;
}

/** What an erasure would remove and keep, store by store. */
export interface ErasurePlan {
  readonly id: string;
  /** Names this very plan: hand it to {@link Erasure.approve}, so that no other one is approved. */
  readonly revision: number;
  /** RFC 3339. */
  readonly plannedAt: string;
  readonly inventories: readonly Inventory[];
}

/** Where an erasure is. */
export type ErasureStatus = Omit<ErasureRecord, 'certificate'>;

/** The orchestrator; made by {@link createErasure}. */
export interface Erasure {
  /**
   * Opens an erasure. While one of the same scope is open, that one is joined: the request is noted in its history,
   * and its id is returned.
   *
   * @throws {@link CrossTenantError} inside another tenant
   */
  request(request: ErasureRequest): Promise<RequestedErasure>;
  /**
   * Counts what there is. A new plan replaces the one before and its approval, until a run has begun.
   *
   * @throws {@link SubjectUnsupportedError}, before any store is asked
   * @throws {@link StoresFailedError} when a store could not count: nothing is planned then
   */
  plan(id: string, options?: { readonly signal?: AbortSignal }): Promise<ErasurePlan>;
  /** @throws {@link ErasureConflictError} when `revision` is not that of the newest plan */
  approve(id: string, approval: { readonly by: string; readonly revision?: number }): Promise<ErasureStatus>;
  /**
   * Freezes, waits, purges, shreds, verifies and signs; goes on where an earlier run has ended.
   *
   * @throws {@link ErasureBusyError} while another process runs it
   * @throws {@link StoresFailedError}, {@link ErasureNotVerifiedError}, {@link ErasureInterruptedError}: run again
   */
  run(
    id: string,
    options?: { readonly signal?: AbortSignal; readonly onProgress?: (progress: ErasureProgress) => void },
  ): Promise<ErasureStatus>;
  status(id: string): Promise<ErasureStatus>;
  /** @returns the compact JWS. @throws {@link ErasureStateError} before completion */
  certificate(id: string): Promise<string>;
  /** Newest first. */
  list(filter?: { readonly tenant?: string; readonly open?: boolean }): Promise<readonly ErasureSummary[]>;
}

/**
 * Makes the orchestrator: erases a tenant, or one person of it, from every store, and proves it.
 *
 * @throws {@link ConfigError} when an option is unknown or not usable, or two stores have the same name
 *
 * @example
 * ```ts
 * import { cacheEraser } from '@tenantkit/cache';
 * import { createErasure, createSigner, sqliteLedger } from '@tenantkit/erasure';
 * const erasure = createErasure({
 *   stores: [cacheEraser(redis)],
 *   ledger: sqliteLedger('erasures.db'),
 *   signer: await createSigner({ privateKey }),
 * });
 * const { id } = await erasure.request({ tenant: 'acme', reason: 'contract ended', requestedBy: 'ops@example.com' });
 * const plan = await erasure.plan(id);
 * await erasure.approve(id, { by: 'dpo@example.com', revision: plan.revision });
 * await erasure.run(id);
 * console.log(await erasure.certificate(id));
 * ```
 */
export function createErasure(options: ErasureOptions): Erasure {
  const { stores, ledger, signer, fence, clock = Date.now, ...limits } = parseErasureOptions(options);
  const journal = new Journal(ledger, clock);
  const now = (): string => new Date(clock()).toISOString();

  const load = async (id: string, operation: string): Promise<ErasureRecord> => {
    const record = await journal.load(id, operation);
    const inside = currentTenant()?.tenant;
    // Inside a tenant, the erasures of others do not exist.
    if (inside !== undefined && inside !== record.tenant) throw new ErasureNotFoundError({ operation });
    return record;
  };

  return {
    async request(given) {
      const { tenant, subject, reason, requestedBy } = parse('request', requestSchema, given);
      assertId(tenant, 'tenant');
      if (subject !== undefined) assertId(subject, 'subject');
      assertOwn(tenant);
      const asked = { reason, requestedBy };
      const requested = {
        type: 'requested',
        tenant,
        ...(subject === undefined ? {} : { subject: digestSubject(tenant, subject) }),
        ...asked,
      } as const;
      const joined = { type: 'joined', ...asked } as const;
      const scope = subject === undefined ? { tenant } : { tenant, subject };
      const opened = await ledger.open({ id: randomUUID(), scope, at: now(), requested, joined });
      announce(opened.id, tenant, opened.joined ? joined : requested);
      return opened;
    },

    async plan(id, { signal = new AbortController().signal } = {}) {
      const record = await load(id, 'plan');
      if (hasBegun(record.state)) {
        const hint = isTerminal(record.state)
          ? 'It is over: request a new one.'
          : 'It has begun: run it to its end.';
        throw new ErasureStateError({ operation: 'plan', erasure: id, state: record.state, hint });
      }
      const planned = await planStores(record, stores, { signal, timeout: limits.storeTimeout });
      await journal.append(record, [planned], { version: record.version });
      const { plan } = await load(id, 'plan');
      const inventories = planned.stores.map(({ inventory }) => inventory);
      return { id, revision: plan?.revision ?? 0, plannedAt: plan?.at ?? '', inventories };
    },

    async approve(id, approval) {
      const { by, revision } = parse('approve', approvalSchema, approval);
      const record = await load(id, 'approve');
      if (record.state === 'received') {
        throw new ErasureStateError({
          operation: 'approve',
          erasure: id,
          state: record.state,
          hint: 'Call plan() first.',
        });
      }
      if (revision !== undefined && revision !== record.plan?.revision) {
        throw new ErasureConflictError({
          operation: 'approve',
          erasure: id,
          what: 'There is a newer plan than the one that was looked at',
        });
      }
      if (record.state !== 'planned') return toStatus(record);
      await journal.append(record, [{ type: 'approved', by }], { version: record.version });
      return toStatus(await load(id, 'approve'));
    },

    async run(id, { signal, onProgress } = {}) {
      const record = await load(id, 'run');
      if (signal?.aborted === true)
        throw new ErasureInterruptedError({ operation: 'run', erasure: id, cause: signal.reason });
      if (isTerminal(record.state)) return toStatus(record);
      return toStatus(
        await runErasure(record, { stores, journal, signer, fence, ...limits, signal, onProgress }),
      );
    },

    status: async (id) => toStatus(await load(id, 'status')),

    async certificate(id) {
      const { certificate, state } = await load(id, 'certificate');
      if (certificate !== undefined) return certificate;
      throw new ErasureStateError({
        operation: 'certificate',
        erasure: id,
        state,
        hint: 'Run it to its end first.',
      });
    },

    async list({ tenant, open } = {}) {
      const inside = currentTenant()?.tenant;
      return (await ledger.list()).filter(
        (one) =>
          (inside === undefined || one.tenant === inside) &&
          (tenant === undefined || one.tenant === tenant) &&
          (open === undefined || open !== isTerminal(one.state)),
      );
    },
  };
}

const requestSchema = z.strictObject({
  tenant: z.unknown(),
  // A person who was not found (`subject: undefined`) is not the whole tenant.
  subject: z
    .custom((subject) => subject !== undefined, 'leave it out to erase all of the tenant')
    .exactOptional(),
  ...askedSchema.shape,
});
const approvalSchema = z.strictObject({ by: line(256), revision: z.int().optional() });

function assertOwn(tenant: string): void {
  const inside = currentTenant();
  if (inside === undefined || inside.tenant === tenant) return;
  const error = new CrossTenantError({
    surface: 'erasure',
    operation: 'request',
    what: 'code inside one tenant asked for the erasure of another',
  });
  publish('refused', {
    surface: 'erasure',
    operation: 'request',
    message: error.message,
    tenant: inside.tenant,
  });
  throw error;
}

function toStatus({ certificate: _certificate, ...status }: ErasureRecord): ErasureStatus {
  return status;
}

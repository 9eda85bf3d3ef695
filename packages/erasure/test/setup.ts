import { mkdtempSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Eraser } from '@tenantkit/core';
import {
  createErasure,
  createSigner,
  generateSigningKey,
  sqliteLedger,
  type Erasure,
  type ErasureOptions,
  type Ledger,
  type Signer,
} from '@tenantkit/erasure';
import { onTestFinished } from 'vitest';

/** A folder of this test, removed after it. */
export function folder(): string {
  const path = mkdtempSync(join(tmpdir(), 'tenantkit-erasure-'));
  onTestFinished(() => rm(path, { recursive: true, force: true }));
  return path;
}

/** A ledger in a file of this test. */
export function ledgerIn(path: string, options?: Parameters<typeof sqliteLedger>[1]): Ledger {
  const ledger = sqliteLedger(join(path, 'ledger.db'), options);
  onTestFinished(() => ledger.close());
  return ledger;
}

/** One key for all tests of a file. */
export const signingKey = await generateSigningKey();
/** Its signer. */
export const signer: Signer = await createSigner({ privateKey: signingKey.privateKey });

/** An orchestrator with a ledger of its own. */
export function erasureOf(
  stores: readonly Eraser[],
  options: Partial<ErasureOptions> & { readonly root?: string } = {},
): Erasure {
  const { root, ledger = ledgerIn(root ?? folder()), ...rest } = options;
  return createErasure({ stores, ledger, signer, ...rest });
}

export const asked = { reason: 'contract ended', requestedBy: 'ops@example.com' } as const;

/** Requests, plans and approves. */
export async function approved(erasure: Erasure, tenant: string, subject?: string): Promise<string> {
  const { id } = await erasure.request({ tenant, ...(subject === undefined ? {} : { subject }), ...asked });
  const { revision } = await erasure.plan(id);
  await erasure.approve(id, { by: 'dpo@example.com', revision });
  return id;
}

/** What `run` rejected with. */
export async function rejection(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => {
      throw new Error('It was expected to be rejected.');
    },
    (error: unknown) => error,
  );
}

/** Resolves from outside. */
export function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  let open = (): void => undefined;
  const opened = new Promise<void>((resolve) => {
    open = resolve;
  });
  return { opened, open: () => open() };
}

import { auditSignal, refuse, type Auditor, type Finding } from '@tenantkit/core';
import { z } from 'zod';
import { isControl } from './control.ts';
import { insideOf } from './inside.ts';
import type { Keyring } from './keyring.ts';
import { outsideOnly } from './operator.ts';
import { parse } from './options.ts';

/** Options of {@link keyringAuditor}. */
export interface KeyringAuditorOptions {
  /** Name in findings, default `crypto`. */
  readonly store?: string | undefined;
}

const schema = z.strictObject({ store: z.string().min(1).max(64).default('crypto') });

const EVERYBODY = refuse('it names the tenants of everybody', 'Audit outside of any tenant, as an operator.');

/**
 * Looks through the key store: secrets that the master key does not open, erased tenants that still have
 * secrets, records that cannot be read, files that others have rights on, leftovers of stopped processes.
 *
 * @throws {@link ConfigError} for unknown options
 *
 * @example
 * ```ts
 * import { keyringAuditor } from '@tenantkit/crypto';
 * for await (const { severity, code, name } of keyringAuditor(keyring).audit(AbortSignal.timeout(60_000))) {
 *   console.log(severity, code, name);
 * }
 * ```
 */
export function keyringAuditor(keyring: Keyring, options: KeyringAuditorOptions = {}): Auditor {
  const { store } = parse('keyringAuditor', schema, options);
  const { store: keys, master } = insideOf(keyring);

  return {
    store,
    async *audit(given): AsyncIterable<Finding> {
      const signal = auditSignal('crypto', 'keyringAuditor.audit', given);
      outsideOnly('keyringAuditor.audit', EVERYBODY);
      const unreadable = new Set<string>();
      for await (const finding of keys.audit(signal)) {
        if (finding.tenant !== undefined) unreadable.add(finding.tenant);
        const { tenant: _, ...rest } = finding;
        yield { store, ...rest };
      }
      for await (const tenant of keys.tenants()) {
        signal.throwIfAborted();
        if (unreadable.has(tenant)) continue;
        const held = await keys.read(tenant);
        if (held === undefined) continue;
        if (held.state === 'shredded') {
          if ((await keys.secrets(tenant)) > 0) yield outlived(store, tenant);
          continue;
        }
        if (isControl(tenant)) yield leftover(store, tenant);
        for (const { epoch, master: id, wrapped } of held.epochs) {
          const binding = { tenant, epoch, purpose: 'tenant' } as const;
          const opened =
            id === master.id &&
            (await master.unwrap(Buffer.from(wrapped, 'base64url'), binding)) !== undefined;
          if (!opened) yield locked(store, tenant, epoch);
        }
      }
    },
  };
}

function outlived(store: string, tenant: string): Finding {
  return {
    store,
    severity: 'critical',
    code: 'secret_outlives_tombstone',
    message: 'A tenant was erased, but a wrapped secret of it is still there.',
    name: tenant,
    hint: 'Run keyring.shred(tenant) again: it destroys what a stopped process has left.',
  };
}

function leftover(store: string, tenant: string): Finding {
  return {
    store,
    severity: 'low',
    code: 'leftover_control',
    message: 'The throw-away tenant of a verification is still there: the verification was stopped.',
    name: tenant,
    hint: 'Run keyring.shred(tenant) on it.',
  };
}

function locked(store: string, tenant: string, epoch: number): Finding {
  return {
    store,
    severity: 'critical',
    code: 'secret_does_not_unwrap',
    message: `The secret of epoch ${epoch} does not open under this master key: values of that epoch are unreadable.`,
    name: tenant,
    hint: 'It was wrapped by another master key, or moved or altered: restore the record from a backup.',
  };
}

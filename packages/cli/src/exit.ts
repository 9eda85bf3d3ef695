import { isTenantkitError, type ErrorCode } from '@tenantkit/core';
import { isUnreachable, type ErasureErrorCode } from '@tenantkit/erasure';
import { CommanderError } from 'commander';

/** The exit codes of the command. */
export const EXIT = {
  done: 0,
  /** Something was found, is not verified, or failed. */
  findings: 1,
  /** Bad usage or configuration. */
  usage: 2,
  /** A store cannot be reached. */
  unreachable: 3,
  /** Waiting for an approval, or for another process. */
  waiting: 4,
  /** Stopped by a signal; can be resumed. */
  interrupted: 130,
} as const;

/** One of {@link EXIT}. */
export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

const BY_CODE = {
  TENANT_MISSING: EXIT.usage,
  TENANT_INVALID: EXIT.usage,
  TENANT_SWITCH: EXIT.usage,
  OPERATION_REFUSED: EXIT.usage,
  CROSS_TENANT: EXIT.usage,
  CONFIG_INVALID: EXIT.usage,
  TENANT_FENCED: EXIT.findings,
  SIGNATURE_INVALID: EXIT.findings,
  DECRYPTION_FAILED: EXIT.findings,
  ENCRYPTION_FAILED: EXIT.findings,
  ISOLATION_BREACH: EXIT.findings,
  STORE_UNREACHABLE: EXIT.unreachable,
  ERASURE_NOT_FOUND: EXIT.usage,
  ERASURE_STATE: EXIT.waiting,
  ERASURE_CONFLICT: EXIT.waiting,
  ERASURE_SUBJECT_UNSUPPORTED: EXIT.usage,
  ERASURE_CONFIG_CHANGED: EXIT.usage,
  ERASURE_PLAN_STALE: EXIT.waiting,
  ERASURE_BUSY: EXIT.waiting,
  ERASURE_LEASE_LOST: EXIT.waiting,
  ERASURE_INTERRUPTED: EXIT.interrupted,
  ERASURE_STORE_SILENT: EXIT.unreachable,
  ERASURE_STORE_CONTRACT: EXIT.findings,
  ERASURE_STORES_FAILED: EXIT.findings,
  ERASURE_NOT_VERIFIED: EXIT.findings,
  LEDGER_FAILED: EXIT.findings,
  CERTIFICATE_INVALID: EXIT.findings,
} as const satisfies Record<ErrorCode | ErasureErrorCode, ExitCode>;

/** With which code the command ends after this error. */
export function exitCodeOf(error: unknown): ExitCode {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.done : EXIT.usage;
  if (isTenantkitError(error)) {
    const { code }: { code: string } = error;
    const known = Object.hasOwn(BY_CODE, code) ? BY_CODE[code as keyof typeof BY_CODE] : EXIT.findings;
    // A failure of several stores tells by its causes whether trying later may help.
    return known === EXIT.findings && isUnreachable(error) ? EXIT.unreachable : known;
  }
  return isUnreachable(error) ? EXIT.unreachable : EXIT.findings;
}

export { CERTIFICATE_TYPE, readCertificate, type Certificate } from './certificate.ts';
export { createErasure } from './erasure.ts';
export type { Erasure, ErasurePlan, ErasureRequest, ErasureStatus, RequestedErasure } from './erasure.ts';
export {
  CertificateError,
  ErasureBusyError,
  ErasureConfigChangedError,
  ErasureConflictError,
  ErasureError,
  ErasureInterruptedError,
  ErasureNotFoundError,
  ErasureNotVerifiedError,
  ErasureStateError,
  LeaseLostError,
  LedgerError,
  PlanStaleError,
  StoreContractError,
  StoreSilentError,
  StoresFailedError,
  SubjectUnsupportedError,
  isErasureError,
} from './errors.ts';
export type {
  AnyErasureError,
  CertificateReason,
  ErasureErrorCode,
  ErasureErrorDetails,
  LedgerReason,
  StoreFailure,
} from './errors.ts';
export type { EventBody, FenceMode, LedgerEvent, SubjectDigest } from './events.ts';
export { isUnreachable } from './failures.ts';
export type {
  Acquired,
  AppendGuard,
  ErasureSummary,
  Lease,
  Ledger,
  LedgerEntry,
  LedgerHead,
} from './ledger.ts';
export type { VerificationKeys } from './keys.ts';
export type { ErasureOptions } from './options.ts';
export type { ErasureRecord, StoreRecord } from './record.ts';
export type { ErasureProgress } from './run.ts';
export { createSigner, generateSigningKey } from './signer.ts';
export type { PrivateJwk, PublicJwk, Signer, SignerOptions } from './signer.ts';
export { sqliteLedger, type SqliteLedgerOptions } from './sqlite.ts';
export { STATES, TRANSITIONS, isTerminal, type ErasureState } from './states.ts';
export { verifyCertificate, type VerifiedCertificate } from './verify.ts';

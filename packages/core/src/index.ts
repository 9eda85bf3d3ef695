export {
  acrossTenants,
  bindTenant,
  currentScope,
  currentTenant,
  forEachTenant,
  requireScope,
  requireTenant,
  runInScope,
  withTenant,
  withoutSubject,
  type Bypass,
  type Scope,
  type TenantContext,
  type Where,
} from './context.ts';
export { auditSignal, controlTenant, eraseRun, erasureScope, isVerified } from './erase.ts';
export type {
  Auditor,
  Checkpoint,
  EraseProgress,
  EraseRun,
  EraseRunOptions,
  Eraser,
  ErasureScope,
  Finding,
  Inventory,
  InventoryItem,
  Kept,
  Outcome,
  PositiveControl,
  Severity,
  Verification,
} from './erase.ts';
export {
  ConfigError,
  CrossTenantError,
  DecryptionError,
  EncryptionError,
  InvalidTenantError,
  IsolationBreachError,
  MissingTenantError,
  OperationRefusedError,
  SignatureError,
  StoreUnreachableError,
  TenantFencedError,
  TenantSwitchError,
  TenantkitError,
  isTenantkitError,
  withoutCredentials,
} from './errors.ts';
export type {
  AnyTenantkitError,
  DecryptionReason,
  EncryptionReason,
  ErrorCode,
  ErrorDetails,
  RefusalReason,
  SignatureReason,
  Surface,
} from './errors.ts';
export { auditChannels, publish } from './events.ts';
export type { ApiActivity, AuditDetails, AuditEvent, AuditKind } from './events.ts';
export { guardedBy, markGuarded } from './guarded.ts';
export { ID_ALPHABET, ID_MAX_LENGTH, assertId, isId, subjectId, tenantId } from './ids.ts';
export { breach, nameTemplate, type NameCodec } from './names.ts';
export { optionSchemas, parseOptions, subjectPattern } from './options.ts';
export type { Placement, SubjectPattern, TenantOptions } from './options.ts';
export { createTenantRegistry, memoryTenantStore } from './registry.ts';
export type { TenantRegistry, TenantRegistryOptions, TenantState, TenantStore } from './registry.ts';
export { custom, defineRules, pass, refusal, refuse, rewrite, ruleFor } from './rules.ts';
export type { CustomRule, PassRule, RefuseRule, RewriteRule, Rule, Rules } from './rules.ts';

import {
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
  isTenantkitError,
  ruleFor,
  type AnyTenantkitError,
  type ErrorCode,
} from '@tenantkit/core';

/** An error as data: its own properties, as BullMQ passes them, and which of tenantkit's errors it is. */
export interface PlainError {
  readonly own: Readonly<Record<string, unknown>>;
  readonly code?: ErrorCode;
}

/** What is said of what was thrown when it says nothing itself. */
export const NO_ERROR = 'The processor threw something that is not an error.';

/** By what `code` says, the class whose instance an error was. */
const CLASSES = {
  TENANT_MISSING: MissingTenantError,
  TENANT_INVALID: InvalidTenantError,
  TENANT_SWITCH: TenantSwitchError,
  OPERATION_REFUSED: OperationRefusedError,
  CROSS_TENANT: CrossTenantError,
  TENANT_FENCED: TenantFencedError,
  SIGNATURE_INVALID: SignatureError,
  DECRYPTION_FAILED: DecryptionError,
  ENCRYPTION_FAILED: EncryptionError,
  ISOLATION_BREACH: IsolationBreachError,
  CONFIG_INVALID: ConfigError,
  STORE_UNREACHABLE: StoreUnreachableError,
} satisfies { readonly [Code in ErrorCode]: ClassOf<Extract<AnyTenantkitError, { code: Code }>> };

type ClassOf<T> = abstract new (...args: never[]) => T;

/**
 * Whatever was thrown, as data. Runs getters: call it in the tenant whose error it is.
 *
 * The cause of one of tenantkit's is left out: it may hold physical names.
 */
export function plainError(thrown: unknown): PlainError {
  try {
    return dataOf(thrown);
  } catch {
    // A Proxy decides what happens to whoever looks at it: here that would end the process, and the job without a reason.
    return { own: { message: NO_ERROR } };
  }
}

function dataOf(thrown: unknown): PlainError {
  const error = isErrorLike(thrown) ? thrown : new Error(String(thrown));
  const own: Record<string, unknown> = {};
  // A DOMException has its message on its prototype.
  for (const name of new Set(['message', ...Object.getOwnPropertyNames(error)])) {
    if (name === 'cause' && isTenantkitError(thrown)) continue;
    const value = asJson(() => Reflect.get(error, name));
    if (value !== undefined) Object.defineProperty(own, name, { value, enumerable: true });
  }
  return isTenantkitError(thrown) ? { own, code: thrown.code } : { own };
}

/** An error with the properties of another; not typed, whatever the data says of it. */
export function ordinaryError({ own }: Pick<PlainError, 'own'>): Error {
  return withOwn(new Error(), own);
}

/** The error that data was made of: one of tenantkit's is an instance of its class again. */
export function typedError({ own, code }: PlainError): Error {
  const type = code === undefined ? undefined : ruleFor<ClassOf<Error>>(CLASSES, code);
  if (type === undefined) return ordinaryError({ own });
  const error = withOwn(Reflect.construct(Error, [], type) as Error, own);
  // The mark by which isTenantkitError knows them, whichever copy of core they are from.
  const sample = new MissingTenantError({ surface: 'queue' });
  for (const mark of Object.getOwnPropertySymbols(sample))
    Reflect.set(error, mark, Reflect.get(sample, mark));
  return error;
}

function withOwn(error: Error, own: Readonly<Record<string, unknown>>): Error {
  for (const [name, value] of Object.entries(own)) {
    // As an Error has them: not among what is enumerated.
    const enumerable = name !== 'message' && name !== 'stack';
    Object.defineProperty(error, name, { value, enumerable, configurable: true, writable: true });
  }
  return error;
}

function isErrorLike(thrown: unknown): thrown is object {
  try {
    return typeof thrown === 'object' && thrown !== null && Boolean(Reflect.get(thrown, 'message'));
  } catch {
    // A getter that throws: then its name is all that can be said of it.
    return false;
  }
}

/** A value as JSON has it; `undefined` for one that has no JSON, such as a circle. */
export function asJson(read: () => unknown): unknown {
  try {
    const text = JSON.stringify(read()) as string | undefined;
    return text === undefined ? undefined : (JSON.parse(text) as unknown);
  } catch {
    return undefined;
  }
}

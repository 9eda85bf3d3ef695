import { isUtf8 } from 'node:buffer';
import { inspect, types } from 'node:util';
import type { EncryptionReason, TenantContext } from '@tenantkit/core';
import { readField, type BoundField, type Field } from './field.ts';
import { MAX_PLAINTEXT, fromText, split, toText, type FormatProblem, type Message } from './format.ts';
import { insideOf, type Inside } from './inside.ts';
import type { Keyring } from './keyring.ts';
import type { TenantKeys } from './keys.ts';
import { notDecrypted, notEncrypted, type Unavailable } from './refusals.ts';
import { open, seal } from './seal.ts';

/**
 * Encrypts single values for the current tenant, bound to table, column and, where it is given, row. A text
 * becomes a text (`tk1.…`), bytes become bytes; `null` stays `null`; the empty text is encrypted.
 *
 * `encrypt`, `decrypt`, `encryptBytes` and `decryptBytes` are synchronous and need the tenant's keys in memory:
 * see {@link Keyring.load}. The variants that end in `Async` load them.
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { FieldCipher } from '@tenantkit/crypto';
 * const cipher = new FieldCipher(keyring);
 * const ssn = { table: 'users', column: 'ssn', row: 7 };
 * const stored = await withTenant('acme', () => cipher.encryptAsync('123-45-6789', ssn));
 * await withTenant('acme', () => cipher.decryptAsync(stored, ssn)); // '123-45-6789'
 * await withTenant('acme2', () => cipher.decryptAsync(stored, ssn)); // DecryptionError
 * ```
 */
export class FieldCipher {
  readonly #inside: Inside;

  /** @throws {@link ConfigError} when `keyring` is none */
  constructor(keyring: Keyring) {
    this.#inside = insideOf(keyring);
  }

  /**
   * Encrypts a text of at most 16 MiB in UTF-8.
   *
   * @throws {@link EncryptionError}, {@link MissingTenantError}, {@link TenantFencedError}
   */
  encrypt(text: string, field: Field): string;
  encrypt(text: null, field: Field): null;
  encrypt(text: string | null, field: Field): string | null;
  encrypt(text: string | null, field: Field): string | null {
    const job = this.#toEncrypt('encrypt', text, field, isText);
    return job && toText(this.#seal(job, this.#inside.loader.peek(job.context.tenant)));
  }

  /**
   * Decrypts what {@link FieldCipher.encrypt} gave.
   *
   * @throws {@link DecryptionError}, {@link MissingTenantError}, {@link TenantFencedError}
   */
  decrypt(text: string, field: Field): string;
  decrypt(text: null, field: Field): null;
  decrypt(text: string | null, field: Field): string | null;
  decrypt(text: string | null, field: Field): string | null {
    const job = this.#toDecrypt('decrypt', text, field, bytesOfText);
    return job && asText(job, this.#open(job, this.#inside.loader.peek(job.context.tenant)));
  }

  /** Like {@link FieldCipher.encrypt}, from bytes to bytes; 78 bytes longer than what it was given. */
  encryptBytes(bytes: Uint8Array, field: Field): Buffer;
  encryptBytes(bytes: null, field: Field): null;
  encryptBytes(bytes: Uint8Array | null, field: Field): Buffer | null;
  encryptBytes(bytes: Uint8Array | null, field: Field): Buffer | null {
    const job = this.#toEncrypt('encryptBytes', viewed(bytes), field, isBytes);
    return job && this.#seal(job, this.#inside.loader.peek(job.context.tenant));
  }

  /** Decrypts what {@link FieldCipher.encryptBytes} gave. @throws {@link DecryptionError} */
  decryptBytes(bytes: Uint8Array, field: Field): Buffer;
  decryptBytes(bytes: null, field: Field): null;
  decryptBytes(bytes: Uint8Array | null, field: Field): Buffer | null;
  decryptBytes(bytes: Uint8Array | null, field: Field): Buffer | null {
    const job = this.#toDecrypt('decryptBytes', bytes, field, bytesOfBytes);
    return job && this.#open(job, this.#inside.loader.peek(job.context.tenant));
  }

  /** {@link FieldCipher.encrypt}, after loading the tenant's keys. The tenant is the one at the call. */
  async encryptAsync(text: string, field: Field): Promise<string>;
  async encryptAsync(text: null, field: Field): Promise<null>;
  async encryptAsync(text: string | null, field: Field): Promise<string | null>;
  async encryptAsync(text: string | null, field: Field): Promise<string | null> {
    const job = this.#toEncrypt('encryptAsync', text, field, isText);
    return job && toText(this.#seal(job, await this.#load(job)));
  }

  /** {@link FieldCipher.decrypt}, after loading the tenant's keys. */
  async decryptAsync(text: string, field: Field): Promise<string>;
  async decryptAsync(text: null, field: Field): Promise<null>;
  async decryptAsync(text: string | null, field: Field): Promise<string | null>;
  async decryptAsync(text: string | null, field: Field): Promise<string | null> {
    const job = this.#toDecrypt('decryptAsync', text, field, bytesOfText);
    return job && asText(job, this.#open(job, await this.#load(job, job.message.epoch)));
  }

  /** {@link FieldCipher.encryptBytes}, after loading the tenant's keys. */
  async encryptBytesAsync(bytes: Uint8Array, field: Field): Promise<Buffer>;
  async encryptBytesAsync(bytes: null, field: Field): Promise<null>;
  async encryptBytesAsync(bytes: Uint8Array | null, field: Field): Promise<Buffer | null>;
  async encryptBytesAsync(bytes: Uint8Array | null, field: Field): Promise<Buffer | null> {
    const job = this.#toEncrypt('encryptBytesAsync', copied(bytes), field, isBytes);
    return job && this.#seal(job, await this.#load(job));
  }

  /** {@link FieldCipher.decryptBytes}, after loading the tenant's keys. */
  async decryptBytesAsync(bytes: Uint8Array, field: Field): Promise<Buffer>;
  async decryptBytesAsync(bytes: null, field: Field): Promise<null>;
  async decryptBytesAsync(bytes: Uint8Array | null, field: Field): Promise<Buffer | null>;
  async decryptBytesAsync(bytes: Uint8Array | null, field: Field): Promise<Buffer | null> {
    const job = this.#toDecrypt('decryptBytesAsync', copied(bytes), field, bytesOfBytes);
    return job && this.#open(job, await this.#load(job, job.message.epoch));
  }

  toJSON(): { readonly name: 'FieldCipher' } {
    return { name: 'FieldCipher' };
  }

  [inspect.custom](): string {
    return 'FieldCipher {}';
  }

  // Everything that depends on the caller's context and objects is read here, before any await.
  #toEncrypt(
    operation: string,
    plaintext: string | Uint8Array | null,
    given: Field,
    check: (plaintext: unknown) => EncryptionReason | undefined,
  ): Sealing | null {
    const context = this.#inside.enter(operation);
    const field = readField(given);
    if (field === undefined) throw notEncrypted(operation, 'context', context);
    if (plaintext === null) return null;
    const problem = check(plaintext);
    if (problem !== undefined) throw notEncrypted(operation, problem, context);
    return { operation, context, field, plaintext };
  }

  #toDecrypt(
    operation: string,
    ciphertext: string | Uint8Array | null,
    given: Field,
    read: (ciphertext: unknown) => Buffer | FormatProblem,
  ): Opening | null {
    const context = this.#inside.enter(operation);
    const field = readField(given);
    if (field === undefined) throw notDecrypted(operation, 'context', context);
    if (ciphertext === null) return null;
    const bytes = read(ciphertext);
    const message = typeof bytes === 'string' ? bytes : split(bytes);
    if (typeof message === 'string') throw notDecrypted(operation, message, context);
    return { operation, context, field, message };
  }

  #seal({ operation, context, field, plaintext }: Sealing, keys: TenantKeys | Unavailable): Buffer {
    if (typeof keys === 'string') throw notEncrypted(operation, keys, context);
    const column = keys.column(keys.newest, field.table, field.column);
    // Dropped between the load and here: the keys were shredded or rotated.
    if (column === undefined) throw notEncrypted(operation, this.#gone(context), context);
    return seal(column, field.row, plaintext);
  }

  #open({ operation, context, field, message }: Opening, keys: TenantKeys | Unavailable): Buffer {
    if (typeof keys === 'string') throw notDecrypted(operation, keys, context);
    if (keys.mustSearch(message.epoch)) {
      keys.wanted = message.epoch;
      throw notDecrypted(operation, 'keyNotLoaded', context);
    }
    const column = keys.column(message.epoch, field.table, field.column);
    if (column === undefined) {
      throw notDecrypted(operation, keys.dropped ? this.#gone(context) : 'epoch', context);
    }
    const plaintext = open(column, field.row, message);
    if (plaintext === undefined) throw notDecrypted(operation, 'authentication', context);
    return plaintext;
  }

  #gone({ tenant }: TenantContext): Unavailable {
    const held = this.#inside.loader.peek(tenant);
    return typeof held === 'string' ? held : 'keyNotLoaded';
  }

  // Only a decryption names an epoch, and only an encryption may make a tenant's first key.
  async #load(
    { operation, context: { tenant } }: Sealing | Opening,
    epoch?: number,
  ): Promise<TenantKeys | Unavailable> {
    const { loader, create, check } = this.#inside;
    const keys = await loader.load(tenant, { create: create && epoch === undefined, epoch });
    // The store may have taken its time, and the tenant been frozen meanwhile.
    check(operation, tenant);
    return keys;
  }
}

interface Sealing {
  readonly operation: string;
  readonly context: TenantContext;
  readonly field: BoundField;
  readonly plaintext: string | Uint8Array;
}

interface Opening {
  readonly operation: string;
  readonly context: TenantContext;
  readonly field: BoundField;
  readonly message: Message;
}

function isText(value: unknown): EncryptionReason | undefined {
  if (typeof value !== 'string') return 'type';
  if (!value.isWellFormed()) return 'text';
  // At most three bytes per UTF-16 unit: short texts need no count.
  return value.length * 3 > MAX_PLAINTEXT && Buffer.byteLength(value) > MAX_PLAINTEXT ? 'size' : undefined;
}

function isBytes(value: unknown): EncryptionReason | undefined {
  const bytes = viewOf(value);
  if (bytes === undefined) return 'type';
  return bytes.byteLength > MAX_PLAINTEXT ? 'size' : undefined;
}

function bytesOfText(value: unknown): Buffer | FormatProblem {
  return typeof value === 'string' ? fromText(value) : 'malformed';
}

function bytesOfBytes(value: unknown): Buffer | FormatProblem {
  return viewOf(value) ?? 'malformed';
}

const { buffer, byteOffset, byteLength } = Object.getOwnPropertyDescriptors(
  Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array,
);

/**
 * The bytes that `value` really holds; `undefined` when it holds none. `instanceof` is true for a Proxy and for a
 * mere object with the prototype, a subclass may say another length, and a buffer that was handed to a worker
 * looks empty: an empty value would be stored in place of the caller's.
 */
function viewOf(value: unknown): Buffer | undefined {
  if (!types.isUint8Array(value)) return undefined;
  const memory = buffer.get?.call(value) as ArrayBufferLike;
  if ('detached' in memory && memory.detached) return undefined;
  return Buffer.from(memory, byteOffset.get?.call(value) as number, byteLength.get?.call(value) as number);
}

function viewed<T>(value: T): T | Buffer {
  return viewOf(value) ?? value;
}

// While the keys load, the caller may already reuse its buffer.
function copied<T>(value: T): T | Buffer {
  const bytes = viewOf(value);
  return bytes === undefined ? value : Buffer.from(bytes);
}

// toString() would put U+FFFD for what is not UTF-8, and hide that these were bytes.
function asText({ operation, context }: Opening, plaintext: Buffer): string {
  if (!isUtf8(plaintext)) throw notDecrypted(operation, 'malformed', context);
  return plaintext.toString('utf8');
}

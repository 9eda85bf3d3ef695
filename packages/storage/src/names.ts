import { ConfigError, breach, nameTemplate, refusal } from '@tenantkit/core';
import { DOTS, keyProblem, type KeyRole } from './grammar.ts';

/** The default template: one folder per tenant. */
export const DEFAULT_NAMES = 'tenants/{tenant}/';

const EXAMPLE = 'tenants/{tenant}/ or customers/{tenant}/files/';

/** Where a key was given, for the error. */
export interface KeyPlace {
  /** The command: `PutObjectCommand`. */
  readonly operation: string;
  /** The field: `Key`, `Prefix`, `CopySource`. */
  readonly field: string;
}

/** Physical key ↔ logical key of one client. Pure: no I/O, no context. */
export interface StorageNames {
  readonly template: string;
  /** What every key of the tenant begins with: `tenants/acme/`. */
  prefix(tenant: string): string;
  /**
   * The physical key. Injective over (tenant, key); a key that needs resolving is refused, never resolved.
   * @throws OperationRefusedError that says which rule was broken and where in the key
   */
  encode(tenant: string, key: unknown, place: KeyPlace, role?: KeyRole): string;
  /**
   * The logical key of a physical one, as it stands in a reply.
   * @param encoded - whether the reply is percent-encoded (`EncodingType: 'url'`)
   * @throws IsolationBreachError when the key is not the tenant's
   */
  decode(tenant: string, physical: unknown, operation: string, encoded?: boolean): string;
  /** Whether a physical key is the tenant's and one that {@link StorageNames.encode} could have made. */
  accepts(tenant: string, physical: string, role?: KeyRole): boolean;
  /** Which tenant a physical key belongs to, or `undefined`: for auditors, which see raw keys. */
  tenantOf(physical: string): string | undefined;
}

/**
 * Makes the codec of a name template.
 *
 * Beyond what every template must satisfy, one for S3 must read as folders: each part of `A-Z a-z 0-9 _ . = @ + , -`,
 * `{tenant}` directly followed by `/`, and `/` at the end. That keeps it free of policy wildcards (`*`, `?`,
 * `$`) and of characters that a key's first character could combine with.
 *
 * @param template - by default `tenants/{tenant}/`
 * @throws ConfigError when the template is not injective or not of that form
 *
 * @example
 * ```ts
 * import { storageNames } from '@tenantkit/storage';
 * const names = storageNames('customers/{tenant}/');
 * names.encode('acme', 'a.txt', { operation: 'GetObjectCommand', field: 'Key' }); // 'customers/acme/a.txt'
 * ```
 */
export function storageNames(template: string = DEFAULT_NAMES): StorageNames {
  const codec = nameTemplate(template, { surface: 'storage', example: EXAMPLE });
  const folders = template.replace('{tenant}', 'x').split('/');
  const wellFormed =
    template.includes('{tenant}/') &&
    folders.at(-1) === '' &&
    folders.slice(0, -1).every((folder) => FOLDER.test(folder) && !DOTS.has(folder));
  if (!wellFormed) {
    throw new ConfigError({
      surface: 'storage',
      operation: 'names',
      problem: 'the name template is not a list of folders with {tenant}/ in it and a / at the end',
      hint: `Use a template such as ${EXAMPLE}.`,
    });
  }
  // One tenant is asked for many times in a row: for each key of a listing.
  let recent: { readonly tenant: string; readonly prefix: string } | undefined;
  const prefixOf = (tenant: string): string => {
    if (tenant !== recent?.tenant) recent = { tenant, prefix: codec.prefix(tenant) };
    return recent.prefix;
  };
  return {
    template,
    prefix: prefixOf,
    tenantOf: (physical) => codec.tenantOf(physical),
    encode(tenant, key, { operation, field }, role = 'key') {
      const prefix = prefixOf(tenant);
      const problem = keyProblem(key, { prefix, field, role });
      if (problem !== undefined) throw refusal('storage', operation, { ...problem, reason: 'key' });
      return `${prefix}${key as string}`;
    },
    decode(tenant, physical, operation, encoded = false) {
      const prefix = prefixOf(tenant);
      const end = typeof physical === 'string' ? prefixEnd(physical, prefix, encoded) : undefined;
      if (end === undefined) {
        throw breach('storage', operation, 'a key outside the tenant came back', tenant);
      }
      return (physical as string).slice(end);
    },
    accepts(tenant, physical, role = 'key') {
      const prefix = prefixOf(tenant);
      if (!physical.startsWith(prefix)) return false;
      return keyProblem(physical.slice(prefix.length), { prefix, role }) === undefined;
    },
  };
}

const FOLDER = /^[A-Za-z0-9_.=@+,-]+$/;

/**
 * Where the tenant's prefix ends in a physical key, or `undefined` when it does not begin with it. With
 * `encoded`, each character of the prefix may stand there as itself or percent-encoded: AWS leaves the slash,
 * Ceph encodes it in keys and leaves a listing's own Prefix plain. What follows keeps the server's encoding.
 */
function prefixEnd(physical: string, prefix: string, encoded: boolean): number | undefined {
  if (!encoded) return physical.startsWith(prefix) ? prefix.length : undefined;
  let at = 0;
  for (const char of prefix) {
    const escape = `%${char.charCodeAt(0).toString(16)}`;
    if (physical[at] === char) at += 1;
    else if (physical.slice(at, at + 3).toLowerCase() === escape) at += 3;
    else return undefined;
  }
  return at;
}

import { ConfigError, breach, nameTemplate, type NameCodec } from '@tenantkit/core';

const DEFAULT_NAMES = 'tk:{tenant}:';

/** What names of tenantkit's own begin with; no tenant can produce one. */
export const RESERVED = 'tk!';

const TAGGED = '{{tenant}}';

/** How the physical keys of one client are made. */
export interface NamesOptions {
  /** Template of the physical key, by default `tk:{tenant}:`. */
  readonly names?: string | undefined;
  /** Whether the tenant's id becomes the hash tag (`tk:{acme}:key`), by default `false`. */
  readonly hashTag?: boolean | undefined;
}

/**
 * Physical key ↔ logical key of every tenant under one template.
 *
 * @throws {@link ConfigError} when the template is not injective, or cannot carry the hash tag asked for
 *
 * @example
 * ```ts
 * const names = new CacheNames();
 * names.of('acme').encode('user:1'); // 'tk:acme:user:1'
 * ```
 */
export class CacheNames {
  readonly codec: NameCodec;
  readonly #known = new Map<string, TenantNames>();

  constructor({ names = DEFAULT_NAMES, hashTag = false }: NamesOptions = {}) {
    this.codec = nameTemplate(ascii(hashTag ? withHashTag(names) : names), { surface: 'cache' });
  }

  /** Whether all keys of a tenant are in one slot of a Cluster, which is its own. */
  get isTagged(): boolean {
    const { template } = this.codec;
    return template.includes(TAGGED) && template.indexOf('{') === template.indexOf(TAGGED);
  }

  /**
   * The names of one tenant.
   * @throws InvalidTenantError when the id is malformed
   */
  of(tenant: string): TenantNames {
    return this.#known.get(tenant) ?? this.#remember(tenant);
  }

  #remember(tenant: string): TenantNames {
    const names = new TenantNames(this.codec, tenant);
    // Bounded, since ids come from requests: a service with more tenants than this makes prefixes anew.
    if (this.#known.size >= 10_000) this.#known.clear();
    this.#known.set(tenant, names);
    return names;
  }
}

/** Physical key ↔ logical key of one tenant. */
export class TenantNames {
  readonly tenant: string;
  readonly template: string;
  readonly prefix: string;
  readonly #bytes: Buffer;
  readonly #pattern: string;

  constructor(codec: NameCodec, tenant: string) {
    this.tenant = tenant;
    this.template = codec.template;
    this.prefix = codec.prefix(tenant);
    this.#bytes = Buffer.from(this.prefix);
    this.#pattern = escapeGlob(this.prefix);
    // Whoever gets hold of it through a queue of ioredis would change the names of all later calls.
    Object.freeze(this);
  }

  /** The physical key. A key keeps its type, since ioredis writes Buffers and texts in different ways. */
  encode<K extends string | Buffer>(key: K): K;
  encode(key: string | Buffer): string | Buffer {
    return typeof key === 'string' ? this.prefix + key : Buffer.concat([this.#bytes, key]);
  }

  /** Whether a physical key belongs to this tenant. */
  owns(physical: string | Buffer): boolean {
    if (typeof physical === 'string') return physical.startsWith(this.prefix);
    return physical.subarray(0, this.#bytes.length).equals(this.#bytes);
  }

  /**
   * The logical key.
   * @throws {@link IsolationBreachError} when the key is not this tenant's
   */
  decode<K extends string | Buffer>(physical: K, operation: string): K;
  decode(physical: string | Buffer, operation: string): string | Buffer {
    if (!this.owns(physical))
      throw breach('cache', operation, 'a key outside the tenant came back', this.tenant);
    return typeof physical === 'string'
      ? physical.slice(this.prefix.length)
      : physical.subarray(this.#bytes.length);
  }

  /** The glob that matches what `pattern` matches among this tenant's keys, and nothing of any other. */
  glob<P extends string | Buffer>(pattern: P): P;
  glob(pattern: string | Buffer): string | Buffer {
    return typeof pattern === 'string'
      ? this.#pattern + pattern
      : Buffer.concat([Buffer.from(this.#pattern), pattern]);
  }
}

/**
 * `text` as a glob that matches `text` alone. A template may hold `*` or `[`: unescaped, the SCAN of one tenant
 * would match the keys of others.
 */
export function escapeGlob(text: string): string {
  return text.replace(/[\\*?[\]^]/g, String.raw`\$&`);
}

// Registries and their names are bytes: with other characters the auditor and an erasure would look for other names.
function ascii(template: string): string {
  if (typeof template !== 'string' || /^[\x20-\x7e]*$/.test(template)) return template;
  throw new ConfigError({
    surface: 'cache',
    operation: 'names',
    problem: 'the template holds something else than printable ASCII characters',
    hint: 'Use one such as tk:{tenant}:.',
  });
}

function withHashTag(template: string): string {
  const tagged = template.includes(TAGGED) ? template : template.replace('{tenant}', () => TAGGED);
  // Redis takes what stands between the first brace and the one that closes it.
  if (tagged.indexOf('{') !== tagged.indexOf(TAGGED)) {
    throw new ConfigError({
      surface: 'cache',
      operation: 'names',
      problem: 'a brace stands before the tenant, so that the tenant would not be the hash tag',
      hint: 'Leave hashTag away, or use a template without other braces such as tk:{tenant}:.',
    });
  }
  return tagged;
}

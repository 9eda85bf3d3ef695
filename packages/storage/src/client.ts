import { S3Client as RawS3Client, type S3ClientConfig as RawS3ClientConfig } from '@aws-sdk/client-s3';
import { ConfigError, currentScope } from '@tenantkit/core';
import { checkCouplings } from './couplings.ts';
import { Engine } from './engine.ts';
import { lockHandler } from './handler.ts';
import { parseStorageOptions, type StorageTenantOptions } from './options.ts';
import type { Own } from './keeper.ts';
import { making } from './running.ts';
import { ownArguments, refused, type SendArguments } from './send.ts';
import { guardStack } from './stack.ts';

/** The raw client's configuration, with the options of tenantkit under `tenant`. */
export interface S3ClientConfig extends RawS3ClientConfig {
  readonly tenant: StorageTenantOptions;
}

declare const CONFINED: unique symbol;

/** What only clients of this package are, for the compiler: a raw client, which knows no tenants, is none. */
export interface Confined {
  /** Is not there at run time. */
  readonly [CONFINED]: true;
}

const engines = new WeakMap<RawS3Client, Engine>();

/**
 * The S3 client of the AWS SDK, confined to the tenant that the calling code runs in. A command that is sent
 * inside `withTenant('acme', …)` works on `tenants/acme/<Key>`; keys, prefixes and tokens of its reply and of its
 * errors are logical again.
 *
 * @throws ConfigError at construction when `tenant` is missing or an option cannot be accepted
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { PutObjectCommand, S3Client } from '@tenantkit/storage';
 * const s3 = new S3Client({ region: 'eu-central-1', tenant: { buckets: ['uploads'] } });
 * await withTenant('acme', () => s3.send(new PutObjectCommand({ Key: 'logo.svg', Body: '<svg/>' })));
 * ```
 */
export class S3Client extends RawS3Client implements Confined {
  declare readonly [CONFINED]: true;

  /** Also true for {@link S3}, which stands on the SDK's class of that name. */
  static override [Symbol.hasInstance](given: unknown): boolean {
    if (this !== S3Client) return Function.prototype[Symbol.hasInstance].call(this, given);
    return typeof given === 'object' && given !== null && engines.has(given as RawS3Client);
  }

  static {
    ownSend(this.prototype);
  }

  constructor(configuration: S3ClientConfig) {
    super(rawConfiguration(configuration));
    confine(this, configuration);
  }
}

/** Puts our `send` on a class; its overloads are the SDK's. */
export function ownSend(prototype: RawS3Client): void {
  const value = function (this: RawS3Client, ...args: SendArguments): unknown {
    // Looked up anew: tracing wraps it.
    const inner = Reflect.get(RawS3Client.prototype, 'send') as (
      this: RawS3Client,
      ...all: unknown[]
    ) => unknown;
    // Across tenants and outside of any the guard in the stack decides.
    if (currentScope()?.tenant === undefined) return inner.apply(this, [...args]);
    const [command, options, callback] = args;
    const called = typeof options === 'function' ? options : callback;
    try {
      const own = ownArguments([command, typeof options === 'function' ? undefined : options]);
      return called === undefined ? inner.apply(this, [...own]) : inner.apply(this, [...own, called]);
    } catch (error) {
      return refused(error, called as never);
    }
  };
  Object.defineProperty(prototype, 'send', { value, writable: true, configurable: true });
}

/**
 * The engine of a client, for the parts of this package that take one.
 *
 * @throws ConfigError when the client is not one of this package
 */
export function engineOf(client: RawS3Client, operation: string): Engine {
  const engine = engines.get(client);
  if (engine !== undefined) return engine;
  throw new ConfigError({
    surface: 'storage',
    operation,
    problem: 'the client was not made by this package',
    hint: 'Give it an S3Client of @tenantkit/storage: a raw one knows no tenants.',
  });
}

/** The configuration for the SDK's constructor: without `tenant`, and checked. */
export function rawConfiguration(configuration: S3ClientConfig | undefined): RawS3ClientConfig {
  const { tenant, ...raw } = configuration ?? ({} as S3ClientConfig);
  parseStorageOptions(tenant);
  for (const [option, problem] of Object.entries(REFUSED)) {
    const value: unknown = Reflect.get(raw, option);
    // The SDK asks for no more than that it is truthy.
    if (value === false || value === undefined) continue;
    throw new ConfigError({
      surface: 'storage',
      operation: 'options',
      problem: `${option} is on, and it ${problem}`,
      hint: 'Leave it off.',
    });
  }
  return raw;
}

// Options of the SDK that would undo the guard.
const REFUSED: Readonly<Record<string, string>> = {
  bucketEndpoint: 'takes requests to an endpoint that cannot be checked; give region or endpoint instead',
  followRegionRedirects:
    'takes requests to an endpoint that cannot be checked; give region or endpoint instead',
  cacheMiddleware: 'keeps what one tenant has added to a command in front of the commands of all others',
};

/**
 * Puts the guard around a client that was just made by the SDK's constructor.
 *
 * @throws ConfigError when the installed SDK cannot be guarded
 */
export function confine(client: RawS3Client, configuration: S3ClientConfig): void {
  checkCouplings(client);
  const { config } = client;
  const own = { config: { ...config }, ...ownIn(configuration) };
  const engine = new Engine(parseStorageOptions(configuration.tenant), own, (command, options) =>
    // The SDK's own: what somebody has put in its place would get commands that nobody has sent.
    send.call(client, command, options),
  );
  engines.set(client, engine);
  const { keeper } = engine;
  const kept = {
    // Read by the SDK at every call.
    cacheMiddleware: false,
    credentials: keeper.gate(config.credentials),
    endpointProvider: engine.endpoints.provider,
    requestHandler: lockHandler(config.requestHandler, keeper),
    signer: keeper.signer,
  };
  for (const [name, value] of Object.entries({ ...config, ...kept })) {
    if (!OPEN.has(name) && (config.isCustomEndpoint === true || !ENDPOINT.has(name)))
      lock(config, name, value);
  }
  for (const name of SIGNING) {
    let value: unknown = Reflect.get(config, name);
    Object.defineProperty(config, name, {
      get: () => value,
      set: (given: unknown) => {
        // Code in its place would be called while the credentials are at hand.
        if (making.getStore() !== keeper || typeof given !== 'string') throw fixed(name);
        value = given;
      },
      enumerable: true,
      configurable: false,
    });
  }
  // The SDK learns it from replies.
  Object.defineProperty(config, 'systemClockOffset', {
    get: () => engine.endpoints.clockOffset,
    set: (offset: number) => {
      engine.endpoints.clockOffset = offset;
    },
    enumerable: true,
    configurable: false,
  });
  Object.defineProperty(client, 'middlewareStack', {
    value: guardStack(client.middlewareStack, engine.around),
    enumerable: true,
    // An assignment would take the guard away.
    writable: false,
    configurable: false,
  });
  for (const name of ['config', 'initConfig']) Object.defineProperty(client, name, FIXED);
  makeFast(config);
}

function ownIn(configuration: RawS3ClientConfig): Own {
  const { credentials } = configuration;
  const isGiven = (name: string): boolean => Reflect.get(configuration, name) !== undefined;
  return {
    hasOwnSigner: !SIGNERS.some(isGiven),
    // An extension may put a provider in their place.
    hasFixedCredentials: typeof credentials === 'object' && credentials !== null && !isGiven('extensions'),
  };
}

/** What replaces the SDK's signer, or what it is made with. */
const SIGNERS = ['signer', 'signerConstructor', 'regionInfoProvider', 'sha256', 'extensions'] as const;

/**
 * Has the engine keep an object in its fast form. The SDK spreads the configuration several times for each call, and
 * V8 keeps an object with so many properties and accessors as a hash table, of which a copy takes 10 µs instead of 2.
 * It keeps objects fast that others inherit from, once that has been of use: nothing else asks for it.
 */
function makeFast(object: object): void {
  const heir = Object.create(object) as { readonly region?: unknown };
  for (let turn = 0; turn < TURNS; turn += 1) void heir.region;
}

const TURNS = 1_000;

const { send } = RawS3Client.prototype as unknown as {
  readonly send: (this: RawS3Client, command: unknown, options: object) => Promise<unknown>;
};

const FIXED = { writable: false, configurable: false } as const;

// What the SDK itself sets while it works, and where the environment may have named the endpoint, that one too. None
// of it is believed: a request is compared with what the client was made with.
const ENDPOINT: ReadonlySet<string> = new Set(['endpoint', 'isCustomEndpoint', 'serviceConfiguredEndpoint']);
const OPEN: ReadonlySet<string> = new Set(['signingName', 'signingRegion', 'systemClockOffset']);

/** What the SDK's signer falls back to; it sets both itself while it signs. */
const SIGNING = ['signingName', 'signingRegion'] as const;

function lock(config: object, name: string, value: unknown): void {
  Object.defineProperty(config, name, {
    get: () => value,
    set: () => {
      throw fixed(name);
    },
    enumerable: true,
    configurable: false,
  });
}

function fixed(name: string): ConfigError {
  return new ConfigError({
    surface: 'storage',
    operation: 'config',
    problem: `client.config.${name} cannot be changed: the client serves every tenant`,
    hint: 'Give it to the constructor; credentials that change need a provider: credentials: async () => ….',
  });
}

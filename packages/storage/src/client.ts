import { S3Client as RawS3Client, type S3ClientConfig as RawS3ClientConfig } from '@aws-sdk/client-s3';
import { ConfigError } from '@tenantkit/core';
import { Engine } from './engine.ts';
import { parseStorageOptions, type StorageTenantOptions } from './options.ts';
import { guardStack } from './stack.ts';

/** The raw client's configuration, with the options of tenantkit under `tenant`. */
export interface S3ClientConfig extends RawS3ClientConfig {
  readonly tenant: StorageTenantOptions;
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
export class S3Client extends RawS3Client {
  constructor(configuration: S3ClientConfig) {
    super(rawConfiguration(configuration));
    confine(this, configuration);
  }
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

function rawConfiguration(configuration: S3ClientConfig | undefined): RawS3ClientConfig {
  const { tenant, ...raw } = configuration ?? ({} as S3ClientConfig);
  parseStorageOptions(tenant);
  for (const [option, problem] of Object.entries(REFUSED)) {
    if (Reflect.get(raw, option) !== true) continue;
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

function confine(client: RawS3Client, { tenant }: S3ClientConfig): void {
  const engine = new Engine(parseStorageOptions(tenant), { ...client.config });
  engines.set(client, engine);
  // Read by the SDK at every call.
  Object.defineProperty(client.config, 'cacheMiddleware', { value: false, enumerable: true });
  client.config.credentials = engine.gate(client.config.credentials);
  Object.defineProperty(client, 'middlewareStack', {
    value: guardStack(client.middlewareStack, engine.around),
    enumerable: true,
    // An assignment would take the guard away.
    writable: false,
    configurable: false,
  });
}

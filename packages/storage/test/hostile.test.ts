import { inspect } from 'node:util';
import { HeadObjectCommand, S3 as RawS3, S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { HttpRequest } from '@smithy/core/protocols';
import {
  ConfigError,
  MissingTenantError,
  OperationRefusedError,
  acrossTenants,
  withTenant,
} from '@tenantkit/core';
import { GetObjectCommand, PutObjectCommand, S3, S3Client } from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { checkChain } from '../src/couplings.ts';
import { open, type Opened } from './open.ts';

// One client serves all tenants; here one of them runs code of its own wherever the SDK lets a caller do so.

let own: Opened;
beforeAll(async () => {
  own = await open();
  for (const tenant of ['acme', 'acme2']) {
    await withTenant(tenant, () => own.s3.send(new PutObjectCommand({ Key: 'one', Body: `of ${tenant}` })));
  }
});
afterAll(() => own[Symbol.asyncDispose]());

type Scheme = {
  identity: unknown;
  signer: {
    sign: (request: unknown, identity: unknown, properties: unknown) => Promise<{ headers: object }>;
  };
  httpAuthOption: { signingProperties: Record<string, unknown> };
};
type Around = (
  next: (args: unknown) => Promise<unknown>,
  context: { __smithy_context?: { selectedHttpAuthScheme?: Scheme } },
) => (args: { request: { path: string; headers: object } }) => Promise<unknown>;

/** A command, and a middleware of the client that runs right before signing. */
function spying(client: S3Client, around: Around): GetObjectCommand {
  client.middlewareStack.addRelativeTo(around as never, {
    relation: 'before',
    toMiddleware: 'awsAuthMiddleware',
    name: 'spy',
  });
  return new GetObjectCommand({ Key: 'one' });
}
afterEach(() => {
  for (const name of ['spy', 'trap']) own.s3.middlewareStack.remove(name);
});

describe('a middleware', () => {
  it('is shown no secret of the client, in its context, configuration or arguments', async () => {
    const { secretAccessKey } = own.options.credentials as { secretAccessKey: string };
    const seen: unknown[] = [];
    const command = spying(own.s3, (next, context) => async (args) => {
      seen.push(
        context.__smithy_context?.selectedHttpAuthScheme?.identity,
        await own.s3.config.credentials(),
      );
      return next(args);
    });
    const { Body } = await withTenant('acme', () => own.s3.send(command));
    expect(await Body?.transformToString()).toBe('of acme');
    expect(seen).toHaveLength(2);
    for (const one of seen) expect(one).toHaveProperty('secretAccessKey', 'held-by-tenantkit');
    expect(JSON.stringify(seen)).not.toContain(secretAccessKey);
  });

  it.each([
    ['its own object', 'acme', undefined],
    ['another tenant’s object', 'acme2', 'lies outside'],
  ])('can have a request signed for %s only', async (_what, tenant, problem) => {
    const outcomes: unknown[] = [];
    const command = spying(own.s3, (next, context) => async (args) => {
      const scheme = context.__smithy_context?.selectedHttpAuthScheme;
      const path = args.request.path.replace('tenants/acme/', `tenants/${tenant}/`);
      const request = Object.assign(
        Object.create(Object.getPrototypeOf(args.request) as object),
        args.request,
        {
          path,
          headers: { ...args.request.headers },
        },
      ) as unknown;
      outcomes.push(
        await scheme?.signer
          .sign(request, scheme.identity, scheme.httpAuthOption.signingProperties)
          .then(({ headers }) => Object.keys(headers).includes('authorization'))
          .catch(String),
      );
      return next(args);
    });
    await withTenant('acme', () => own.s3.send(command));
    expect(outcomes).toEqual([problem === undefined ? true : expect.stringContaining(problem)]);
  });

  it('runs no code while the signer has the credentials', async () => {
    const asked: unknown[] = [];
    const ask = (): string => {
      void own.s3.config.credentials().then(
        (one) => asked.push(one.secretAccessKey),
        (error: unknown) => asked.push(error),
      );
      return own.options.region;
    };
    const command = spying(own.s3, (next, context) => (args) => {
      const properties = context.__smithy_context?.selectedHttpAuthScheme?.httpAuthOption.signingProperties;
      Object.assign(properties ?? {}, { signingRegion: { toString: ask, concat: ask } });
      return next(args);
    });
    await withTenant('acme', () => own.s3.send(command)).catch((error: unknown) => error);
    const { secretAccessKey } = own.options.credentials as { secretAccessKey: string };
    expect(asked).not.toContain(secretAccessKey);
  });

  it('has no region of its own asked for while the signer has the credentials', async () => {
    const client = make();
    const asked: unknown[] = [];
    const region = async (): Promise<string> => {
      asked.push(await client.config.credentials().catch(() => 'refused'));
      return own.options.region;
    };
    const outcome: unknown[] = [];
    const command = spying(client, (next) => async (args) => {
      const signer = await client.config.signer({ name: 'sigv4', signingRegion: region } as never);
      outcome.push(await signer.sign(args.request as never).catch(String));
      return next(args);
    });
    await withTenant('acme', () => client.send(command));
    expect(asked).toEqual([]);
    expect(outcome).toEqual([expect.objectContaining({ method: 'GET' })]);
    client.destroy();
  });

  it.each([
    ['in a year', 365 * 24 * 60, 'another time'],
    ['in sixteen minutes', 16, 'another time'],
    ['a year ago', -365 * 24 * 60, 'another time'],
    ['at no time', Number.NaN, 'another time'],
    ['in fourteen minutes', 14, undefined],
    ['fourteen minutes ago', -14, undefined],
  ])('can have its own request signed for about now only: %s', async (_when, minutes, problem) => {
    for (const offset of [0, 3 * 24 * 60 * 60_000]) {
      // Whose clock is wrong by days, as the server has told it.
      const client = new S3Client({
        ...own.options,
        maxAttempts: 1,
        systemClockOffset: offset,
        tenant: { buckets: [own.bucket] },
      });
      const outcomes: unknown[] = [];
      const command = spying(client, (next) => async (args) => {
        const signer = await client.config.signer({
          name: 'sigv4',
          signingRegion: own.options.region,
        } as never);
        const signingDate = new Date(Date.now() + offset + minutes * 60_000);
        outcomes.push(
          await signer.sign(args.request as never, { signingDate }).then(
            ({ headers }) => headers['x-amz-date'],
            (error: OperationRefusedError) => error.why,
          ),
        );
        return next(args);
      });
      await withTenant('acme', () => client.send(command)).catch((error: unknown) => error);
      expect(outcomes).toEqual([expect.stringMatching(problem ?? /^\d{8}T\d{6}Z$/)]);
      client.destroy();
    }
  });

  it('is shown no secret while a URL is presigned, and the URL works', async () => {
    const seen: unknown[] = [];
    own.s3.middlewareStack.add(
      (next) => async (args) => {
        seen.push(await own.s3.config.credentials());
        return next(args);
      },
      { step: 'build', name: 'spy' },
    );
    const url = await withTenant('acme', () => getSignedUrl(own.s3, new GetObjectCommand({ Key: 'one' })));
    expect(await (await fetch(url)).text()).toBe('of acme');
    expect(seen).toEqual([expect.objectContaining({ secretAccessKey: 'held-by-tenantkit' })]);
  });
});

it('the signer of the configuration signs nothing outside of a call', async () => {
  const signer = await own.s3.config.signer({} as never);
  const request = { method: 'GET', protocol: 'http:', hostname: 'x', path: '/', query: {}, headers: {} };
  await expect(withTenant('acme', () => signer.sign(request as never))).rejects.toThrow(
    OperationRefusedError,
  );
});

const make = (tenant: object = {}): S3Client =>
  new S3Client({ ...own.options, tenant: { buckets: [own.bucket], ...tenant } });
const read = (client: S3Client): Promise<string | undefined> =>
  withTenant('acme', async () => {
    const { Body } = await client.send(new GetObjectCommand({ Key: 'one' }));
    return Body?.transformToString();
  });
const across = <T>(run: () => Promise<T>): Promise<T> =>
  acrossTenants({ reason: 'test', actor: 'test' }, run);

describe('the connections of a client', () => {
  type Handler = Record<
    'destroy' | 'httpHandlerConfigs' | 'updateHttpClientConfig',
    (...args: unknown[]) => unknown
  >;
  const handler = (client: S3Client): Handler => client.config.requestHandler as never;

  it.each<[string, (client: S3Client) => unknown]>([
    ['close them', (client) => client.destroy()],
    ['close them through the handler', (client) => handler(client).destroy()],
    ['read how they are held', (client) => handler(client).httpHandlerConfigs()],
    ['change how they are held', (client) => handler(client).updateHttpClientConfig('socketTimeout', 1)],
    [
      'put itself in front',
      (client) => (client.config.requestHandler.handle = () => Promise.reject(new Error())),
    ],
  ])('belong to all tenants: one of them cannot %s', async (_what, attack) => {
    const client = make();
    expect(() => withTenant('acme', () => attack(client))).toThrow(OperationRefusedError);
    expect(await read(client)).toBe('of acme');
    const mine = withTenant('acme', () => make());
    expect(() => withTenant('acme2', () => attack(mine))).toThrow(OperationRefusedError);
    // Who has made the client may.
    withTenant('acme', () => attack(mine));
    attack(client);
  });

  it('are not shown by what looks into the client', async () => {
    const client = make();
    await read(client);
    expect(inspect(client.config.requestHandler, { depth: 9, showHidden: true })).not.toMatch(
      /agent|socket/i,
    );
    client.destroy();
  });

  it('take nothing that was not checked, whatever became of the middleware', async () => {
    const request = (): HttpRequest => {
      const { hostname, port } = new URL(own.options.endpoint);
      return new HttpRequest({ method: 'GET', protocol: 'http:', hostname, port: Number(port), path: '/' });
    };
    const handle = (): Promise<unknown> => own.s3.config.requestHandler.handle(request());
    await expect(withTenant('acme', async () => handle())).rejects.toThrow(OperationRefusedError);
    await expect((async () => handle())()).rejects.toThrow(MissingTenantError);
    await expect(across(async () => handle())).resolves.toHaveProperty('response');
  });
});

describe('the configuration of a client', () => {
  it.each([
    'bucketEndpoint',
    'cacheMiddleware',
    'credentials',
    'endpoint',
    'endpointProvider',
    'httpAuthSchemes',
    'logger',
    'region',
    'requestHandler',
    'sha256',
    'signer',
    'signerConstructor',
  ])('keeps its %s', async (name) => {
    const client = make();
    const config = client.config as unknown as Record<string, unknown>;
    const before = config[name];
    expect(() => Object.assign(config, { [name]: {} })).toThrow(ConfigError);
    expect(() => Object.defineProperty(config, name, { value: {} })).toThrow(TypeError);
    expect(config[name]).toBe(before);
    expect(() => Object.assign(client, { config: {} })).toThrow(TypeError);
    expect(await read(client)).toBe('of acme');
    client.destroy();
  });
});

describe('headers of a middleware', () => {
  const withHeader = (client: S3Client, header: string): S3Client => {
    client.middlewareStack.add(
      (next) => (args) => {
        (args as { request: HttpRequest }).request.headers[header] = '1';
        return next(args);
      },
      { step: 'build' },
    );
    return client;
  };

  it('leave when they were named', async () => {
    expect(await read(withHeader(make({ headers: ['x-my-trace'] }), 'x-my-trace'))).toBe('of acme');
    await expect(read(withHeader(make({ headers: ['x-my-trace'] }), 'x-my-other'))).rejects.toThrow(
      'tenant.headers',
    );
    await expect(read(withHeader(make(), 'x-my-trace'))).rejects.toThrow(OperationRefusedError);
  });

  it.each(['newrelic', 'elastic-apm-traceparent', 'uber-trace-id', 'amz-sdk-something-new'])(
    'leave without, for tracing: %s',
    async (header) => {
      expect(await read(withHeader(make(), header))).toBe('of acme');
    },
  );

  it.each([
    'authorization',
    'host',
    'content-length',
    'transfer-encoding',
    'x-amz-copy-source',
    'x-amz-acl',
    'X-My-Trace',
    'x_amz_acl',
    'x-forwarded-host',
    'x-original-url',
    'x-http-method-override',
    'x-method-override',
    'x-goog-acl',
    'x-copy-from',
    'x-rgw-account',
    'range',
    'x-a\r\nb',
  ])('cannot be named when they have a meaning: %j', (header) => {
    expect(() => make({ headers: [header] })).toThrow(ConfigError);
  });
});

describe('the SDK', () => {
  // oxlint-disable-next-line typescript/unbound-method -- called on a command, with `call`
  const chain = HeadObjectCommand.prototype.resolveMiddleware as unknown as (...args: unknown[]) => unknown;
  class Strange {
    readonly input = {};
    readonly resolveMiddleware: () => unknown;
    constructor(resolve: (...args: unknown[]) => unknown) {
      const command = new HeadObjectCommand({ Bucket: 'uploads', Key: 'x' });
      this.resolveMiddleware = (...args: unknown[]) => resolve.call(command, ...args);
    }
  }
  const strange = (resolve: (...args: unknown[]) => unknown) =>
    class extends Strange {
      constructor() {
        super(resolve);
      }
    };

  it.each<[string, ((...args: unknown[]) => unknown) | undefined]>([
    ['as it is', undefined],
    [
      'that takes the steps of the client into a stack of its own',
      (_stack, ...rest) =>
        chain.call(
          new HeadObjectCommand({ Bucket: 'uploads', Key: 'x' }),
          own.raw.middlewareStack.clone(),
          ...rest,
        ),
    ],
    [
      'that stands around the guard',
      (...args) => {
        const built = chain.call(new HeadObjectCommand({ Bucket: 'uploads', Key: 'x' }), ...args) as (
          a: unknown,
        ) => unknown;
        return (given: unknown) => built(given);
      },
    ],
    [
      'that sends by another handler',
      (stack, config, options) =>
        chain.call(
          new HeadObjectCommand({ Bucket: 'uploads', Key: 'x' }),
          stack,
          { ...(config as object), requestHandler: { handle: () => Promise.resolve({}) } },
          options,
        ),
    ],
  ])('is only taken when it can be guarded: one %s', (_what, resolve) => {
    const check = (): void =>
      checkChain(own.raw, resolve === undefined ? HeadObjectCommand : strange(resolve));
    if (resolve === undefined) check();
    else expect(check).toThrow(ConfigError);
  });
});

it('a client is an instance of the classes that it stands for', async () => {
  const s3 = new S3({ ...own.options, tenant: { buckets: [own.bucket] } });
  for (const one of [RawS3, RawS3Client, S3, S3Client]) expect(s3).toBeInstanceOf(one);
  const client = make();
  expect(client).toBeInstanceOf(S3Client);
  expect(client).not.toBeInstanceOf(S3);
  class Own extends S3Client {}
  expect(client).not.toBeInstanceOf(Own);
  expect(new Own({ ...own.options, tenant: { buckets: [own.bucket] } })).toBeInstanceOf(Own);
  expect(own.raw).not.toBeInstanceOf(S3Client);
  expect(await read(s3)).toBe('of acme');
});

describe('an object with code in the place of data', () => {
  const loot: unknown[] = [];
  const grab = (): void => {
    own.s3.config.credentials().then(
      ({ secretAccessKey }) => loot.push(secretAccessKey),
      () => undefined,
    );
  };
  const trap = (): object =>
    Object.defineProperty({}, Symbol.toStringTag, {
      get() {
        grab();
        return 'x';
      },
    });

  beforeEach(async () => {
    const { secretAccessKey } = own.options.credentials as { secretAccessKey: string };
    // What it would do, where it is allowed to.
    await acrossTenants({ reason: 'control', actor: 'test' }, async () => {
      expect(Object.prototype.toString.call(trap())).toBe('[object x]');
      await expect.poll(() => loot).toContain(secretAccessKey);
    });
    loot.length = 0;
  });

  it('as a body is not asked what it is while the credentials are at hand', async () => {
    const { secretAccessKey } = own.options.credentials as { secretAccessKey: string };
    for (const toMiddleware of ['awsAuthMiddleware', 'httpSigningMiddleware']) {
      own.s3.middlewareStack.addRelativeTo(
        ((next: (args: object) => Promise<unknown>) => (args: { request: { body: unknown } }) => {
          args.request.body = trap();
          return next(args);
        }) as never,
        { relation: 'before', toMiddleware, name: 'trap' },
      );
      const put = new PutObjectCommand({ Key: 'mine', Body: 'x' });
      await expect(withTenant('acme', () => own.s3.send(put))).rejects.toThrow(
        'whose bytes cannot be counted',
      );
      own.s3.middlewareStack.remove('trap');
    }
    own.s3.middlewareStack.add(
      (next) => async (args) => {
        const result = (await next(args)) as { output: { presigned?: { body: unknown } } };
        if (result.output.presigned !== undefined) result.output.presigned.body = trap();
        return result as never;
      },
      { step: 'initialize', name: 'trap' },
    );
    const url = new PutObjectCommand({ Key: 'mine' });
    expect(await withTenant('acme', () => getSignedUrl(own.s3, url))).toContain('X-Amz-Signature=');
    expect(loot).not.toContain(secretAccessKey);
  });

  it('a URL is not signed without its host', async () => {
    const url = new GetObjectCommand({ Key: 'one' });
    own.s3.middlewareStack.add(
      (next) => async (args) => {
        const result = (await next(args)) as { output: { presigned?: { query: Record<string, string> } } };
        Object.assign(result.output.presigned?.query ?? {}, { 'X-Amz-SignedHeaders': 'range' });
        return result as never;
      },
      { step: 'initialize', priority: 'high', name: 'trap' },
    );
    await expect(withTenant('acme', () => getSignedUrl(own.s3, url))).rejects.toThrow(OperationRefusedError);
  });

  it.each(['X-Amz-Content-Sha256', 'X-Amz-Credential', 'X-Amz-SignedHeaders', 'X-Amz-Expires'])(
    'as the parameter %s of a URL is refused',
    async (name) => {
      const { secretAccessKey } = own.options.credentials as { secretAccessKey: string };
      const url = new GetObjectCommand({ Key: 'one' });
      const region = { toString: () => (grab(), 'us-east-1') };
      const value = { toString: () => (grab(), 'x'), split: () => ['a', 'b', region, 's3'] };
      own.s3.middlewareStack.add(
        (next) => async (args) => {
          const result = (await next(args)) as { output: { presigned?: { query: object } } };
          Object.assign(result.output.presigned?.query ?? {}, { [name]: value });
          return result as never;
        },
        { step: 'initialize', priority: 'high', name: 'trap' },
      );
      await expect(withTenant('acme', () => getSignedUrl(own.s3, url))).rejects.toThrow(
        OperationRefusedError,
      );
      expect(loot).not.toContain(secretAccessKey);
      own.s3.middlewareStack.remove('trap');
      await withTenant('acme', () => getSignedUrl(own.s3, new GetObjectCommand({ Key: 'one' })));
    },
  );
});

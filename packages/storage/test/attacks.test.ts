import {
  DeleteBucketCommand as RawDeleteBucketCommand,
  GetObjectCommand as RawGetObjectCommand,
  ListObjectsV2Command as RawListObjectsV2Command,
  PutObjectCommand as RawPutObjectCommand,
  S3Client as RawS3Client,
} from '@aws-sdk/client-s3';
import { S3RequestPresigner } from '@aws-sdk/s3-request-presigner';
import {
  ConfigError,
  CrossTenantError,
  IsolationBreachError,
  OperationRefusedError,
  acrossTenants,
  isTenantkitError,
  withTenant,
} from '@tenantkit/core';
import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@tenantkit/storage';
import { HttpRequest } from '@smithy/core/protocols';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { STEPS, install, lies, onRequest, sendPast, type Middleware, type Request } from './attack.ts';
import { countRequests, open, type Opened } from './open.ts';

// Every attack is one tenant's code, or a library in its service, that changes a request on its way. `one` exists
// in both tenants; what acme2 owns must be neither read nor changed.

let own: Opened;
let second: Opened;
let s3: S3Client;
let sent: () => number;

beforeAll(async () => {
  own = await open();
  second = await open();
  for (const tenant of ['acme', 'acme2']) {
    await raw(
      new RawPutObjectCommand({ Bucket: own.bucket, Key: `tenants/${tenant}/one`, Body: `of ${tenant}` }),
    );
  }
  await raw(
    new RawPutObjectCommand({ Bucket: second.bucket, Key: 'tenants/acme/one', Body: 'in another bucket' }),
  );
});
afterAll(async () => {
  await own[Symbol.asyncDispose]();
  await second[Symbol.asyncDispose]();
});
beforeEach(() => {
  s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
  sent = countRequests(s3);
  return () => s3.destroy();
});

const raw = (command: object): Promise<unknown> => own.raw.send(command as RawGetObjectCommand);
const foreign = (): string => `/${own.bucket}/tenants/acme2/one`;

const COMMANDS = {
  get: () => new GetObjectCommand({ Key: 'one' }),
  head: () => new HeadObjectCommand({ Key: 'one' }),
  put: () => new PutObjectCommand({ Key: 'mine', Body: 'mine' }),
  delete: () => new DeleteObjectCommand({ Key: 'mine' }),
  copy: () => new CopyObjectCommand({ Key: 'mine', CopySource: `${own.bucket}/one` }),
  list: () => new ListObjectsV2Command({}),
} as const;
type Name = keyof typeof COMMANDS;
const ALL = Object.keys(COMMANDS) as Name[];
const KEYED = ALL.filter((name) => name !== 'list');

const send = (name: Name, client = s3): Promise<unknown> =>
  withTenant('acme', () => client.send(COMMANDS[name]() as GetObjectCommand));

/** The attack fails with a typed error, nothing is sent, and the other tenant's object is what it was. */
async function fails(call: () => Promise<unknown>, code?: string, looks = 0): Promise<'stopped'> {
  const before = sent();
  const error = await call().then(
    (answer) => new Error(`the attack was answered: ${JSON.stringify(answer)}`),
    (reason: unknown) => reason,
  );
  if (!isTenantkitError(error)) throw error;
  expect(code === undefined ? ['CROSS_TENANT', 'OPERATION_REFUSED'] : [code]).toContain(error.code);
  expect(String(error)).not.toContain('acme2');
  // The source of a copy is looked at before.
  expect(sent() - before).toBeLessThanOrEqual(looks);
  const { Body } = (await raw(new RawGetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme2/one' }))) as {
    Body: { transformToString: () => Promise<string> };
  };
  expect(await Body.transformToString()).toBe('of acme2');
  return 'stopped';
}

describe('a middleware that does nothing', () => {
  it.each(ALL)('leaves %s as it is, at every step', async (name) => {
    STEPS.forEach((where, index) => {
      install(
        s3,
        onRequest(() => undefined),
        { ...where, name: `nothing ${index}` },
      );
    });
    await send(name);
    expect(sent()).toBe(name === 'copy' ? 2 : 1);
  });
});

describe.each(STEPS)('a middleware at %j', (where) => {
  it.each(KEYED)('cannot lead %s to another tenant', async (name) => {
    install(
      s3,
      onRequest((request) => void (request.path = foreign())),
      where,
    );
    expect(await fails(() => send(name), 'CROSS_TENANT')).toBe('stopped');
  });

  it('cannot list more than the tenant', async () => {
    install(
      s3,
      onRequest(({ query }) => void delete query['prefix']),
      where,
    );
    expect(await fails(() => send('list'), 'CROSS_TENANT')).toBe('stopped');
  });

  it('cannot turn a request into a copy of another tenant’s object', async () => {
    install(
      s3,
      onRequest(({ headers }) => void (headers['x-amz-copy-source'] = foreign())),
      where,
    );
    for (const name of ALL) expect(await fails(() => send(name))).toBe('stopped');
  });
});

describe('no change of a request leads outside:', () => {
  const LATE = { relation: 'before', toMiddleware: 'httpSigningMiddleware' } as const;
  const changes: Record<string, readonly [readonly Name[], (request: Request) => void]> = {
    'the bucket itself': [KEYED, (r) => void (r.path = `/${own.bucket}`)],
    'the bucket with a slash': [KEYED, (r) => void (r.path = `/${own.bucket}/`)],
    'the root': [ALL, (r) => void (r.path = '/')],
    'another bucket': [ALL, (r) => void (r.path = r.path.replace(own.bucket, second.bucket))],
    'a bucket that begins with this one': [
      ALL,
      (r) => void (r.path = r.path.replace(own.bucket, `${own.bucket}2`)),
    ],
    'a tenant that begins with this one': [KEYED, (r) => void (r.path = r.path.replace('/acme/', '/acme2/'))],
    'the tenant’s prefix alone': [KEYED, (r) => void (r.path = `/${own.bucket}/tenants/acme/`)],
    'a parent segment': [KEYED, (r) => void (r.path = `/${own.bucket}/tenants/acme/../acme2/one`)],
    'an encoded parent segment': [
      KEYED,
      (r) => void (r.path = `/${own.bucket}/tenants/acme/%2e%2e/acme2/one`),
    ],
    'an encoded slash': [KEYED, (r) => void (r.path = `/${own.bucket}/tenants/acme/..%2Facme2%2Fone`)],
    'a doubly encoded parent segment': [
      KEYED,
      (r) => void (r.path = `/${own.bucket}/tenants/acme/%252e%252e/acme2/one`),
    ],
    'an empty segment': [KEYED, (r) => void (r.path = `/${own.bucket}//tenants/acme2/one`)],
    'a path that is not encoded': [KEYED, (r) => void (r.path = `/${own.bucket}/tenants/acme/a b`)],
    'lower-case encoding': [KEYED, (r) => void (r.path = `/${own.bucket}/tenants/acme/%c3%a9`)],
    'broken encoding': [KEYED, (r) => void (r.path = `/${own.bucket}/tenants/acme/%zz`)],
    'a query in the path': [ALL, (r) => void (r.path += '?acl')],
    'a fragment in the path': [ALL, (r) => void (r.path += '#x')],
    'a fragment': [ALL, (r) => void (r.fragment = 'x')],
    'another method': [ALL, (r) => void (r.method = r.method === 'PUT' ? 'DELETE' : 'PUT')],
    'another host': [ALL, (r) => void (r.hostname = 'localhost')],
    'a host with a path in it': [ALL, (r) => void (r.hostname = `${r.hostname}/x`)],
    'another port': [ALL, (r) => void (r.port = 1)],
    'no port': [ALL, (r) => void delete r.port],
    'another protocol': [ALL, (r) => void (r.protocol = 'https:')],
    'a user name': [ALL, (r) => void (r.username = 'x')],
    'another host header': [ALL, (r) => void (r.headers['host'] = `${second.bucket}.127.0.0.1`)],
    'a second copy source, before the own one': [
      ['copy'],
      (r) => void (r.headers = { 'X-Amz-Copy-Source': foreign(), ...r.headers }),
    ],
    'a second host header': [ALL, (r) => void (r.headers['Host'] = 'x')],
    'another prefix': [['list'], (r) => void (r.query['prefix'] = 'tenants/acme2/')],
    'the prefix without its slash': [['list'], (r) => void (r.query['prefix'] = 'tenants/acme')],
    'no prefix': [['list'], (r) => void (r.query['prefix'] = '')],
    'two prefixes': [['list'], (r) => void (r.query['prefix'] = ['tenants/acme/', ''])],
    'a prefix in another spelling': [['list'], (r) => void (r.query['Prefix'] = '')],
    'the older listing': [['list'], (r) => void delete r.query['list-type']],
    'a listing of versions': [['list'], (r) => void (r.query['versions'] = '')],
    'a listing of uploads': [['list'], (r) => void (r.query['uploads'] = '')],
    'an ACL': [ALL, (r) => void (r.query['acl'] = '')],
    'a policy': [ALL, (r) => void (r.query['policy'] = '')],
    'an upload': [ALL, (r) => void (r.query['uploadId'] = 'x')],
    'another operation id': [ALL, (r) => void (r.query['x-id'] = 'DeleteBucket')],
    'a copy in mixed case': [ALL, (r) => void (r.headers['X-Amz-Copy-Source'] = foreign())],
    'a copy with underscores': [ALL, (r) => void (r.headers['x_amz_copy_source'] = foreign())],
    'a copy of another vendor': [ALL, (r) => void (r.headers['x-oss-copy-source'] = foreign())],
    'a copy in the query': [ALL, (r) => void (r.query['x-amz-copy-source'] = foreign())],
    'a canned ACL': [ALL, (r) => void (r.headers['x-amz-acl'] = 'public-read')],
    'a grant': [ALL, (r) => void (r.headers['x-amz-grant-read'] = 'id=x')],
    'a website redirect': [ALL, (r) => void (r.headers['x-amz-website-redirect-location'] = '/')],
    'a KMS key': [ALL, (r) => void (r.headers['x-amz-server-side-encryption-aws-kms-key-id'] = 'x')],
    'a lock': [ALL, (r) => void (r.headers['x-amz-object-lock-mode'] = 'COMPLIANCE')],
    'a method override': [ALL, (r) => void (r.headers['x-http-method-override'] = 'DELETE')],
    'a rewritten URL': [ALL, (r) => void (r.headers['x-original-url'] = foreign())],
    'a forwarded host': [ALL, (r) => void (r.headers['x-forwarded-host'] = 'x')],
    'a line break in metadata': [
      ['put', 'copy'],
      (r) => void (r.headers['x-amz-meta-a'] = `x\r\nx-amz-copy-source: ${foreign()}`),
    ],
    'a line break in a name': [
      ['put', 'copy'],
      (r) => void (r.headers[`x-amz-meta-a\r\nx-amz-copy-source: ${foreign()}\r\nb`] = 'x'),
    ],
    'a presigned signature': [ALL, (r) => void (r.query['X-Amz-Signature'] = 'x')],
  };

  it.each(Object.entries(changes))('%s', async (_name, [names, change]) => {
    install(s3, onRequest(change), LATE);
    for (const name of names) expect(await fails(() => send(name))).toBe('stopped');
  });

  it.each(['traceparent', 'x-request-id', 'x-amzn-trace-id'])(
    'while the header %s passes',
    async (header) => {
      install(
        s3,
        onRequest(({ headers }) => void (headers[header] = 'x')),
        LATE,
      );
      await send('head');
      expect(sent()).toBe(1);
    },
  );
});

describe('a middleware that changes the input', () => {
  it.each<[string, Name, Record<string, unknown>]>([
    ['to a foreign key', 'get', { Key: 'tenants/acme2/one' }],
    ['to a key that resolves elsewhere', 'get', { Key: 'tenants/acme/../acme2/one' }],
    ['to a logical key', 'get', { Key: 'one' }],
    ['to a foreign prefix', 'list', { Prefix: 'tenants/acme2/' }],
    ['to no prefix', 'list', { Prefix: undefined }],
    ['to a foreign source', 'copy', { CopySource: 'BUCKET/tenants/acme2/one' }],
    ['to an ACL', 'put', { ACL: 'public-read' }],
  ])('%s is stopped', async (_what, name, change) => {
    for (const step of ['initialize', 'serialize'] as const) {
      const client = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
      sent = countRequests(client);
      const changed = JSON.parse(JSON.stringify(change).replace('BUCKET', own.bucket)) as object;
      const gone = Object.keys(change).filter((field) => change[field] === undefined);
      const attack: Middleware = (next) => (args) => {
        const input: Record<string, unknown> = { ...args.input, ...changed };
        for (const field of gone) delete input[field];
        return next({ ...args, input });
      };
      install(client, attack, { step, priority: 'high' });
      expect(
        await fails(
          () => send(name, client),
          change['ACL'] === undefined ? 'CROSS_TENANT' : 'OPERATION_REFUSED',
          name === 'copy' ? 1 : 0,
        ),
      ).toBe('stopped');
      client.destroy();
    }
  });

  it('in place is stopped as well: what is checked against is out of its reach', async () => {
    const attack: Middleware = (next) => (args) => {
      Object.assign(args.input, { Key: 'tenants/acme2/one', Prefix: 'tenants/acme2/' });
      return next(args);
    };
    install(s3, attack, { step: 'initialize' });
    for (const name of ALL) expect(await fails(() => send(name), 'CROSS_TENANT')).toBe('stopped');
  });

  it('to another bucket is stopped, also one that is accepted', async () => {
    const both = new S3Client({ ...own.options, tenant: { buckets: [own.bucket, second.bucket] } });
    sent = countRequests(both);
    const attack: Middleware = (next) => (args) =>
      next({ ...args, input: { ...args.input, Bucket: second.bucket } });
    const get = (): Promise<unknown> =>
      withTenant('acme', () => both.send(new RawGetObjectCommand({ Bucket: own.bucket, Key: 'one' })));
    await get();
    install(both, attack, { step: 'initialize' });
    expect(await fails(get, 'CROSS_TENANT')).toBe('stopped');
    both.destroy();
  });
});

describe('the middleware of one command', () => {
  it('is refused with its command, which passes without', async () => {
    expect(() => Object.assign(s3.config, { cacheMiddleware: true })).toThrow(ConfigError);
    const seen: string[] = [];
    const nosy = new GetObjectCommand({ Key: 'one' });
    install(
      nosy,
      onRequest(({ path }) => seen.push(path)),
      { step: 'build' },
    );
    expect(await fails(() => withTenant('acme', () => s3.send(nosy)), 'OPERATION_REFUSED')).toBe('stopped');
    nosy.middlewareStack.remove('attack');
    await withTenant('acme', () => s3.send(nosy));
    expect(seen).toEqual([]);
  });
});

describe('a request', () => {
  it('is what was checked, whatever is done to it afterwards', async () => {
    const attack: Middleware = (next) => (args) => {
      const answer = next(args);
      args.request.path = foreign();
      args.request.headers['x-amz-copy-source'] = foreign();
      return answer;
    };
    install(s3, attack, { step: 'deserialize', priority: 'low' });
    const { Body } = (await send('get')) as { Body: { transformToString: () => Promise<string> } };
    expect(await Body.transformToString()).toBe('of acme');
  });

  it('is read once, whatever a second reading would answer', async () => {
    const attack: Middleware = (next) => (args) => {
      const { path } = args.request;
      let reads = 0;
      Object.defineProperty(args.request, 'path', {
        enumerable: true,
        get: () => (reads++ === 0 ? path : foreign()),
      });
      return next(args);
    };
    install(s3, attack, { step: 'deserialize', priority: 'low' });
    const { Body } = (await send('get')) as { Body: { transformToString: () => Promise<string> } };
    expect(await Body.transformToString()).toBe('of acme');
  });

  it.each([1, 2, 3, 4, 6])(
    'is read once, also through its prototype (own path for %i readings)',
    async (honest) => {
      let reads = 0;
      const attack: Middleware = (next) => (args) => {
        const { path, ...rest } = args.request;
        const hidden = { get: () => (reads++ < honest ? path : foreign()) };
        return next({
          ...args,
          request: Object.assign(Object.create(Object.create(null, { path: hidden })), rest),
        });
      };
      const after = { relation: 'after', toMiddleware: 'httpSigningMiddleware', name: 'hide' };
      install(s3, attack, after);
      const { Body } = (await send('get')) as { Body: { transformToString: () => Promise<string> } };
      expect(await Body.transformToString()).toBe('of acme');
      expect(reads).toBe(1);
    },
  );

  it('cannot be replaced by something that is none', async () => {
    const attack: Middleware = (next) => (args) => next({ ...args, request: 'GET /' as never });
    install(s3, attack, { step: 'deserialize', priority: 'low' });
    await expect(send('get')).rejects.toThrow(OperationRefusedError);
    expect(sent()).toBe(0);
  });
});

describe('the guard', () => {
  it('cannot be removed by name, alias, tag or reference, nor replaced', async () => {
    const stack = s3.middlewareStack;
    const names = stack.identify().map((entry) => entry.split(' ')[0] ?? '');
    expect(names.join()).not.toMatch(/tenant/i);
    // Its steps alone, in a stack that has no guard.
    expect(() => stack.applyToStack(own.raw.middlewareStack.clone())).toThrow(OperationRefusedError);
    stack.removeByTag('TENANT');
    stack.remove('tenantkit');
    expect(() => Object.assign(s3, { middlewareStack: own.raw.middlewareStack })).toThrow(TypeError);
    expect(() => Object.defineProperty(s3, 'middlewareStack', { value: own.raw.middlewareStack })).toThrow(
      TypeError,
    );
    const { Body } = (await send('get')) as { Body: { transformToString: () => Promise<string> } };
    expect(await Body.transformToString()).toBe('of acme');
  });

  it('stays when all of the SDK’s own middleware is taken away', async () => {
    for (const entry of s3.middlewareStack.identify()) s3.middlewareStack.remove(entry.split(' ')[0] ?? '');
    await expect(s3.send(COMMANDS.get())).rejects.toThrow('No tenant');
    await expect(send('get')).rejects.toBeInstanceOf(Error);
    expect(sent()).toBe(0);
  });

  it('stands around clones and concatenations of the stack', async () => {
    for (const stack of [s3.middlewareStack.clone(), s3.middlewareStack.clone().clone()]) {
      const foreignGet = new RawGetObjectCommand({ Bucket: own.bucket, Key: '../acme2/one' });
      const run = foreignGet.resolveMiddleware(stack, s3.config, {});
      expect(await fails(() => withTenant('acme', () => run(foreignGet)), 'OPERATION_REFUSED')).toBe(
        'stopped',
      );
      const own1 = new RawGetObjectCommand({ Bucket: own.bucket, Key: 'one' });
      // Its last step came with the command.
      const inside = withTenant('acme', () => own1.resolveMiddleware(stack, s3.config, {})(own1));
      await expect(inside).rejects.toThrow('own send');
      const lifted = new RawGetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme/one' });
      const across = acrossTenants({ reason: 'a test', actor: 'test' }, () =>
        lifted.resolveMiddleware(stack, s3.config, {})(lifted),
      );
      expect(await across).toMatchObject({ output: { ContentLength: expect.any(Number) as number } });
    }
  });

  it('covers commands of the raw package and their own middleware', async () => {
    const command = new RawGetObjectCommand({ Bucket: own.bucket, Key: 'one' });
    install(
      command,
      onRequest((request) => void (request.path = foreign())),
      { step: 'finalizeRequest', priority: 'low' },
    );
    expect(await fails(() => withTenant('acme', () => s3.send(command)), 'OPERATION_REFUSED')).toBe(
      'stopped',
    );
    expect(
      await fails(() =>
        withTenant('acme', () => s3.send(new RawDeleteBucketCommand({ Bucket: own.bucket }))),
      ),
    ).toBe('stopped');
  });

  it('does not believe a command that calls itself by another’s name', async () => {
    const command = new RawDeleteBucketCommand({ Bucket: own.bucket, Key: 'one' } as never);
    const resolve = command.resolveMiddleware.bind(command);
    command.resolveMiddleware = (stack, config, options) => {
      const disguised = {
        concat: (from: never) => ({
          resolve: (last: never, context: object) =>
            stack.concat(from).resolve(last, { ...context, commandName: 'DeleteObjectCommand' }),
        }),
      };
      return resolve(disguised as never, config, options);
    };
    expect(await fails(() => withTenant('acme', () => s3.send(command)), 'OPERATION_REFUSED')).toBe(
      'stopped',
    );
    // Past our own send the guard stands, too.
    expect(await fails(() => withTenant('acme', () => sendPast(s3, command)), 'CROSS_TENANT')).toBe(
      'stopped',
    );
  });

  it('does not follow a changed configuration', async () => {
    const elsewhere = () => Promise.resolve({ protocol: 'http:', hostname: 'localhost', port: 1, path: '/' });
    const client = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    expect(() => Object.assign(client.config, { endpoint: elsewhere })).toThrow(ConfigError);
    client.destroy();
    // Without an endpoint of its own the SDK looks for one in the environment, and sets it.
    const { endpoint: _none, ...options } = own.options;
    const open = new S3Client({ ...options, tenant: { buckets: [own.bucket] } });
    open.config.requestHandler.handle = () => Promise.reject(new Error('not sent'));
    await expect(send('get', open)).rejects.toThrow('not sent');
    Object.assign(open.config, { endpoint: elsewhere, isCustomEndpoint: true });
    await expect(send('get', open)).rejects.toThrow('another host');
    open.destroy();
    await send('get');
  });

  it('checks what another request handler is given', async () => {
    const seen: string[] = [];
    s3.config.requestHandler.handle = (request) => {
      seen.push(request.path);
      return Promise.reject(new Error('not sent'));
    };
    install(
      s3,
      onRequest((request) => void (request.path = foreign())),
      { step: 'build' },
    );
    await expect(send('get')).rejects.toThrow(CrossTenantError);
    expect(seen).toEqual([]);
    s3.middlewareStack.remove('attack');
    await expect(send('get')).rejects.toThrow('not sent');
    expect(seen).toEqual([`/${own.bucket}/tenants/acme/one`]);
  });
});

describe('the credentials of the client', () => {
  it('are not given to code that would sign past the guard', async () => {
    const refused = (call: () => unknown): Promise<void> =>
      expect(withTenant('acme', async () => call())).rejects.toThrow(OperationRefusedError);
    await refused(() => s3.config.credentials());
    await refused(() => {
      const client = new RawS3Client(s3.config as never);
      return client.send(new RawListObjectsV2Command({ Bucket: own.bucket }));
    });
    await refused(() => {
      const request = new HttpRequest({
        hostname: 'x',
        path: foreign(),
        method: 'GET',
        headers: { host: 'x' },
      });
      return new S3RequestPresigner(s3.config).presign(request);
    });
    // A stack that was built from the client's middleware, without its guard.
    await refused(() => {
      const stack = own.raw.middlewareStack.clone();
      for (const entry of stack.identify()) stack.remove(entry.split(' ')[0] ?? '');
      stack.use(s3.middlewareStack);
      const command = new RawGetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme2/one' });
      return command.resolveMiddleware(stack, s3.config, {})(command);
    });
    expect(sent()).toBe(0);
    await send('get');
    expect(sent()).toBe(1);
  });
});

describe('a reply that names something outside of the tenant', () => {
  const LAST = { relation: 'before', toMiddleware: 'deserializerMiddleware' } as const;

  it.each<[string, Record<string, unknown>]>([
    ['a key', { Contents: [{ Key: 'tenants/acme/one' }, { Key: 'tenants/acme2/one' }] }],
    ['a key that begins like the tenant’s', { Contents: [{ Key: 'tenants/acme' }] }],
    ['no key at all', { Contents: [{ Key: 7 }] }],
    ['a common prefix', { CommonPrefixes: [{ Prefix: 'tenants/' }] }],
    ['another prefix', { Prefix: 'tenants/acme2/' }],
    ['another start', { StartAfter: 'tenants/acme2/x' }],
    ['an encoded key', { EncodingType: 'url', Contents: [{ Key: 'tenants%2Facme2%2Fone' }] }],
  ])('is withheld: %s', async (_what, change) => {
    install(
      s3,
      lies((output) => void Object.assign(output, change)),
      LAST,
    );
    const listing = send('list');
    await expect(listing).rejects.toThrow(IsolationBreachError);
    await expect(listing).rejects.not.toThrow('acme2');
  });

  it('is cut to the fields that the table knows', async () => {
    install(
      s3,
      lies(
        (output) =>
          void Object.assign(output, { Neighbours: ['tenants/acme2/one'], Prefix: 'tenants/acme/' }),
      ),
      LAST,
    );
    const reply = await send('list');
    expect(reply).not.toHaveProperty('Neighbours');
    expect(reply).toHaveProperty('Prefix', '');
  });

  it('is withheld when it is an error, and an error about the own key is made logical', async () => {
    const key = 'missing/tenants/acme/deep';
    const get = () => withTenant('acme', () => s3.send(new GetObjectCommand({ Key: key })));
    const physical = `tenants/acme/${key}`;
    const says: Record<string, string> = {
      Key: physical,
      Resource: `/${own.bucket}/${physical}`,
      message: `no ${physical} here`,
    };
    const fail: Middleware = (next) => (args) =>
      next(args).catch((error: unknown) => {
        throw Object.assign(error as object, says);
      });
    install(s3, fail, LAST);
    const error = await get().catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      name: 'NoSuchKey',
      Key: key,
      Resource: `/${own.bucket}/${key}`,
      message: `no ${key} here`,
    });
    expect((error as Error).stack).not.toContain('tenants/acme/missing');
    says['Key'] = 'tenants/acme2/one';
    await expect(get()).rejects.toThrow(IsolationBreachError);
  });

  it('is not shown as the text of a reply that could not be read', async () => {
    const spoil: Middleware = (next) => async (args) => {
      const result = (await next(args)) as { response: { body: unknown } };
      result.response.body = new TextEncoder().encode(
        '<ListBucketResult><Contents><Key>tenants/acme2/one</Key><oops',
      );
      return result;
    };
    install(s3, spoil, { step: 'deserialize', priority: 'low' });
    const error = (await send('list').catch((reason: unknown) => reason)) as Error & Record<string, unknown>;
    expect(error).toBeInstanceOf(Error);
    const texts = Object.getOwnPropertyNames(error).map((name) => JSON.stringify(error[name]) ?? '');
    expect(texts.join()).not.toContain('acme2');
  });
});

describe('metadata', () => {
  it('cannot smuggle a header', async () => {
    const put = (Metadata: Record<string, string>): Promise<unknown> =>
      withTenant('acme', () => s3.send(new PutObjectCommand({ Key: 'mine', Body: 'mine', Metadata })));
    await put({ 'x-amz-copy-source': foreign(), x_amz_copy_source: foreign() });
    const { Body, Metadata } = (await withTenant('acme', () =>
      s3.send(new GetObjectCommand({ Key: 'mine' })),
    )) as {
      Body: { transformToString: () => Promise<string> };
      Metadata: Record<string, string>;
    };
    expect(await Body.transformToString()).toBe('mine');
    expect(Object.keys(Metadata)).toContain('x-amz-copy-source');
    for (const name of ['a\r\nx-amz-copy-source', 'a b', 'a:b', 'é']) {
      expect(await fails(() => put({ [name]: foreign() }), 'OPERATION_REFUSED')).toBe('stopped');
    }
    expect(await fails(() => put({ a: `x\r\nx-amz-copy-source: ${foreign()}` }), 'OPERATION_REFUSED')).toBe(
      'stopped',
    );
  });
});

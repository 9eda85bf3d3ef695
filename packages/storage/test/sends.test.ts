import * as raw from '@aws-sdk/client-s3';
import { getSignedUrl as rawGetSignedUrl } from '@aws-sdk/s3-request-presigner';
import { OperationRefusedError, acrossTenants, withTenant } from '@tenantkit/core';
import * as ours from '@tenantkit/storage';
import { getSignedUrl } from '@tenantkit/storage/presign';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

// A command may come with code: middleware, methods that were replaced, options that answer differently each time. None
// of it runs in the midst of a call, among what all tenants share.

let own: Opened;
beforeAll(async () => {
  own = await open();
  for (const tenant of ['acme', 'acme2'])
    await withTenant(tenant, () =>
      own.s3.send(new ours.PutObjectCommand({ Key: 'one', Body: `of ${tenant}` })),
    );
});
afterAll(() => own[Symbol.asyncDispose]());

const text = ({ Body }: ours.GetObjectCommandOutput): Promise<string> | undefined =>
  Body?.transformToString();
const get = (): ours.GetObjectCommand => new ours.GetObjectCommand({ Key: 'one' });
const send = (command: object, options?: object): Promise<ours.GetObjectCommandOutput> =>
  withTenant('acme', () => own.s3.send(command as ours.GetObjectCommand, options as never));
const stopped = async (call: () => Promise<unknown>, why: string | RegExp): Promise<void> => {
  const before = own.sent();
  const error: unknown = await call().then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(OperationRefusedError);
  expect((error as OperationRefusedError).message).toMatch(why);
  expect(own.sent()).toBe(before);
};

describe('a command with code of its own', () => {
  const seen: unknown[] = [];
  const withMiddleware = (): object => {
    const command = get();
    command.middlewareStack.add(
      (next, context) => (args) => {
        seen.push(context);
        return next(args);
      },
      { step: 'build', name: 'nosy' },
    );
    return command;
  };
  class Changing extends raw.GetObjectCommand {
    override resolveMiddleware(
      ...[stack, config, options]: Parameters<raw.GetObjectCommand['resolveMiddleware']>
    ) {
      const requestHandler = {
        handle: (request: { path: string }, more: never) => {
          request.path = request.path.replace('acme', 'acme2');
          seen.push(request);
          return config.requestHandler.handle(request as never, more);
        },
      };
      return super.resolveMiddleware(stack, { ...config, requestHandler } as never, options);
    }
  }
  const replaced = (): object =>
    Object.assign(get(), { resolveMiddleware: () => () => Promise.resolve({ output: 'mine' }) });

  it.each([
    ['middleware', withMiddleware],
    ['a class that changes what was checked', () => new Changing({ Bucket: own.bucket, Key: 'one' })],
    ['a method that was replaced', replaced],
  ])('is refused before any of it runs: %s', async (_what, make) => {
    await stopped(() => send(make()), /of its own/);
    await stopped(
      () => withTenant('acme', () => getSignedUrl(own.s3, make() as ours.GetObjectCommand)),
      /of its own/,
    );
    expect(seen).toEqual([]);
    expect(await text(await send(get()))).toBe('of acme');
  });

  it('is sent by nothing else than the client’s own send, which makes it anew', async () => {
    const { send: rawSend } = raw.S3Client.prototype as unknown as {
      send: (this: object, command: object) => Promise<unknown>;
    };
    const past = (command: object) => withTenant('acme', () => rawSend.call(own.s3, command));
    await stopped(() => past(new Changing({ Bucket: own.bucket, Key: 'one' })), /own send/);
    await stopped(() => past(get()), /own send/);
    expect(seen).toEqual([]);
    // One of a person has something written before it, which is the client's own.
    const url = await withTenant({ tenant: 'acme', subject: 'p7' }, () =>
      rawGetSignedUrl(own.s3, new raw.PutObjectCommand({ Bucket: own.bucket, Key: 'of p7' })),
    );
    expect((await fetch(url, { method: 'PUT', body: 'x' })).status).toBeGreaterThanOrEqual(200);
    const { Body } = (await acrossTenants({ reason: 'test', actor: 'test' }, () =>
      rawSend.call(own.s3, new raw.GetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme2/one' })),
    )) as ours.GetObjectCommandOutput;
    expect(await Body?.transformToString()).toBe('of acme2');
    expect(await text(await send(get()))).toBe('of acme');
  });

  it('is not made to pass by what a client that is none has shown', async () => {
    const shared = new raw.HeadObjectCommand({ Bucket: own.bucket, Key: 'one' });
    await acrossTenants({ reason: 'test', actor: 'test' }, () => own.s3.send(shared)).catch(() => undefined);
    const poisoned = new raw.HeadObjectCommand({ Bucket: own.bucket, Key: 'one' });
    poisoned.middlewareStack.add((next) => next, { name: 'mine', step: 'build' });
    const concat = (stack: raw.HeadObjectCommand['middlewareStack']) => {
      for (const step of stack.identify()) stack.remove(step.split(' ')[0] ?? '');
      stack.add(((next: never) => next) as never, { name: 'mine', step: 'build' });
      return { resolve: () => () => Promise.resolve({}), identifyOnResolve: () => false };
    };
    const fake = { config: { ...own.s3.config }, middlewareStack: { concat } };
    const { send: ownSend } = ours.S3Client.prototype as unknown as {
      send: (this: object, command: object) => Promise<unknown>;
    };
    for (const command of [poisoned, poisoned]) {
      await stopped(() => withTenant('acme', () => ownSend.call(fake, command)), /of its own/);
      await stopped(() => send(command), /of its own/);
    }
    expect(await send(shared)).toHaveProperty('ContentLength', 'of acme'.length);
  });

  it('reaches callbacks with the refusal', async () => {
    const error = await new Promise((resolve) => {
      withTenant('acme', () => own.s3.send(withMiddleware() as ours.GetObjectCommand, resolve));
    });
    expect(error).toBeInstanceOf(OperationRefusedError);
    const later = await new Promise((resolve) => {
      withTenant('acme', () => own.s3.send(withMiddleware() as ours.GetObjectCommand, {}, resolve));
    });
    expect(later).toBeInstanceOf(OperationRefusedError);
  });

  it('passes where the boundary is lifted', async () => {
    const command = new raw.GetObjectCommand({ Bucket: own.bucket, Key: 'tenants/acme2/one' });
    const steps: string[] = [];
    command.middlewareStack.add(
      (next) => (args) => {
        steps.push('build');
        return next(args);
      },
      { step: 'build', name: 'nosy' },
    );
    const reply = await acrossTenants({ reason: 'test', actor: 'test' }, () => own.s3.send(command));
    expect([await text(reply), steps]).toEqual(['of acme2', ['build']]);
  });
});

describe('a command', () => {
  it('that was sent by another client, and across tenants, is sent again', async () => {
    const command = new raw.GetObjectCommand({ Bucket: own.bucket, Key: 'one' });
    await own.raw.send(command).catch(() => undefined);
    await acrossTenants({ reason: 'test', actor: 'test' }, () => own.s3.send(command)).catch(() => undefined);
    expect(command.middlewareStack.identify()).not.toEqual([]);
    expect(await text(await send(command))).toBe('of acme');
  });

  it('of a class of one’s own that changes nothing is one of the SDK’s', async () => {
    class Named extends ours.GetObjectCommand {
      readonly note = 'mine';
    }
    expect(await text(await send(new Named({ Key: 'one' })))).toBe('of acme');
  });

  it('of another copy of the SDK, or of a minified one, is known by its schema', async () => {
    const foreign = (name: string): object => ({
      input: { Key: 'one' },
      schema: [9, 'com.amazonaws.s3', name],
    });
    expect(await text(await send(foreign('GetObject')))).toBe('of acme');
    const replaced = Object.assign(foreign('GetObject'), { resolveMiddleware: () => expect.unreachable() });
    await stopped(() => send(replaced), /of its own/);
    await stopped(() => send(foreign('DeleteBucket')), /DeleteBucketCommand/);
    await stopped(() => send(foreign('MakeCoffee')), /MakeCoffeeCommand/);
    class GetObjectCommand {
      readonly input = { Key: 'one' };
    }
    expect(await text(await send(new GetObjectCommand()))).toBe('of acme');
  });

  it.each([undefined, null, 'GetObjectCommand', {}, 7])('that is none is refused: %j', async (command) => {
    await stopped(() => send(command as never), /refused/);
    expect(await text(await send(get()))).toBe('of acme');
  });
});

describe('options of send', () => {
  it.each<readonly [string, () => object]>([
    ['a timeout that is no number', () => ({ requestTimeout: 5000n })],
    ['a timeout that throws', () => ({ requestTimeout: { valueOf: () => expect.unreachable() } })],
    ['a timeout that is a symbol', () => ({ requestTimeout: Symbol('x') })],
    ['a timeout that never ends', () => ({ requestTimeout: Number.POSITIVE_INFINITY })],
    ['a timeout before now', () => ({ requestTimeout: -1 })],
    ['one that nobody knows', () => ({ metricsRecorder: {} })],
  ])('are refused when one is %s', async (_what, options) => {
    await stopped(() => send(get(), options()), /requestTimeout/);
    expect(await text(await send(get(), { requestTimeout: 5_000, abortSignal: undefined }))).toBe('of acme');
  });

  it('are read once', async () => {
    let reads = 0;
    const options = {
      get abortSignal() {
        reads += 1;
        return reads === 1 ? undefined : { addEventListener: () => expect.unreachable() };
      },
    };
    expect(await text(await send(get(), options))).toBe('of acme');
    expect(reads).toBe(1);
  });
});

describe('what the client’s signer falls back to', () => {
  it.each(['signingName', 'signingRegion'])('is not a tenant’s to set: %s', async (name) => {
    await withTenant('acme', async () => {
      for (const value of [() => 'us-east-1', { toString: () => 'us-east-1' }, 'us-east-1'])
        expect(() => Object.assign(own.s3.config, { [name]: value })).toThrow(/cannot be changed/);
    });
    expect(await text(await send(get()))).toBe('of acme');
  });
});

it('the client’s signer is made for a text of a region, and keeps nothing else for all', async () => {
  const s3 = new ours.S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
  const make = (signingRegion: unknown) =>
    withTenant('acme', () => s3.config.signer({ name: 'sigv4', signingRegion } as never));
  await expect(make(5)).rejects.toThrow(/cannot be changed/);
  await make(own.options.region);
  expect(await text(await withTenant('acme', () => s3.send(get())))).toBe('of acme');
  s3.destroy();
});

describe('credential providers', () => {
  it('may not send them through that of another client', async () => {
    const s3 = new ours.S3Client({
      ...own.options,
      credentials: async () => {
        const { requestHandler } = own.s3.config;
        const sts = new raw.S3Client({ ...own.options, requestHandler });
        await sts.send(new raw.HeadBucketCommand({ Bucket: own.bucket }));
        return own.options.credentials;
      },
      tenant: { buckets: [own.bucket] },
    });
    const before = own.sent();
    await expect(withTenant('acme', () => s3.send(get()))).rejects.toMatchObject({ code: 'TENANT_MISSING' });
    expect(own.sent()).toBe(before);
    s3.destroy();
  });

  it('may send requests of their own through the client’s request handler', async () => {
    const asked: string[] = [];
    const s3 = new ours.S3Client({
      ...own.options,
      // As those of the SDK do for STS, which are given the client's configuration.
      credentials: async (options) => {
        const { requestHandler, region } = (options?.['callerClientConfig'] ?? s3.config) as typeof s3.config;
        const sts = new raw.S3Client({ ...own.options, region, requestHandler });
        await sts.send(new raw.HeadBucketCommand({ Bucket: own.bucket }));
        asked.push('sent');
        return own.options.credentials;
      },
      tenant: { buckets: [own.bucket] },
    });
    const reply = await withTenant('acme', () => s3.send(get()));
    expect([await text(reply), asked.length > 0]).toEqual(['of acme', true]);
    s3.destroy();
  });
});

describe('tracing', () => {
  it('may wrap the methods of the client’s stack', async () => {
    const s3 = new ours.S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
    const spans: unknown[] = [];
    const patch = (stack: object): void => {
      const { resolve, clone, concat } = stack as Record<string, (...args: unknown[]) => object>;
      for (const [name, method] of Object.entries({ clone, concat }))
        Object.defineProperty(stack, name, {
          value(...args: unknown[]) {
            const made = method?.apply(this, args);
            patch(made ?? {});
            return made;
          },
        });
      Object.defineProperty(stack, 'resolve', {
        value(...args: [unknown, { commandName: string }]) {
          const handler = resolve?.apply(this, args) as (command: unknown) => unknown;
          return (command: unknown) => {
            spans.push(args[1].commandName);
            return handler(command);
          };
        },
      });
    };
    patch(s3.middlewareStack);
    expect(await text(await withTenant('acme', () => s3.send(get())))).toBe('of acme');
    expect(spans).toEqual(['GetObjectCommand']);
    s3.destroy();
  });
});

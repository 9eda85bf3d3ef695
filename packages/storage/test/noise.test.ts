import { OperationRefusedError, withTenant } from '@tenantkit/core';
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3Client,
} from '@tenantkit/storage';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import { answers, install, type Middleware } from './attack.ts';
import { countRequests, open, type Opened } from './open.ts';

// What one tenant does must not slow down or stop the calls of others: one process and one client serve all of them.

let own: Opened;
let s3: S3Client;
let sent: () => number;
beforeAll(async () => {
  own = await open();
});
afterAll(() => own[Symbol.asyncDispose]());
beforeEach(() => {
  s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket] } });
  sent = countRequests(s3);
  return () => s3.destroy();
});

interface Work<T> {
  readonly result: T;
  /** How often something is looked for in a text, or a piece of one is compared. */
  readonly looks: number;
}

/** Runs it, and counts what is looked for meanwhile: on a slow machine, too, that is as much as on a fast one. */
async function counted<T>(work: () => Promise<T>): Promise<Work<T>> {
  const spies = [
    vi.spyOn(RegExp.prototype, Symbol.replace),
    ...(['includes', 'indexOf', 'slice', 'startsWith'] as const).map((name) =>
      vi.spyOn(String.prototype, name),
    ),
  ];
  try {
    const result = await work();
    return { result, looks: spies.reduce((sum, { mock }) => sum + mock.calls.length, 0) };
  } finally {
    for (const spy of spies) spy.mockRestore();
  }
}

const LAST = { relation: 'before', toMiddleware: 'deserializerMiddleware' } as const;

describe('the clock of the client', () => {
  const put = (): Promise<unknown> =>
    withTenant('acme2', () => s3.send(new PutObjectCommand({ Key: 'one', Body: 'of acme2' })));

  it.each(['Thu, 01 Jan 1970 00:00:00 GMT', '+275760-09-13T00:00:00Z', 'no time', ''])(
    'is not set by a reply that a middleware has dated %j',
    async (date) => {
      const command = new HeadObjectCommand({ Key: 'missing' });
      const dated: Middleware = (next) => async (args) => {
        const result = (await next(args)) as { response: { headers: Record<string, string> } };
        result.response.headers['date'] = date;
        return result;
      };
      install(s3, dated, { step: 'deserialize', priority: 'low' });
      await expect(withTenant('acme', () => s3.send(command))).rejects.toMatchObject({ name: 'NotFound' });
      s3.middlewareStack.remove('attack');
      expect(Math.abs(s3.config.systemClockOffset)).toBeLessThan(60_000);
      const before = sent();
      await put();
      expect(sent()).toBe(before + 1);
    },
  );

  it('cannot be set inside a tenant, and outside to a time only', async () => {
    for (const offset of [Number.NaN, Infinity, 1e15, 60_000]) {
      expect(() => withTenant('acme', () => Object.assign(s3.config, { systemClockOffset: offset }))).toThrow(
        OperationRefusedError,
      );
    }
    for (const offset of [Number.NaN, Infinity, 1e15]) s3.config.systemClockOffset = offset;
    expect(s3.config.systemClockOffset).toBe(0);
    s3.config.systemClockOffset = 1_000;
    expect(s3.config.systemClockOffset).toBe(1_000);
    await put();
  });
});

describe('the names of a batch', () => {
  const keys = (count: number, length: number): string[] =>
    Array.from({ length: count }, (_, index) => `${index}-`.padEnd(length, 'k'));
  const remove = (names: readonly string[]): Promise<unknown> =>
    withTenant('acme', () =>
      s3.send(new DeleteObjectsCommand({ Delete: { Objects: names.map((Key) => ({ Key })) } })),
    );

  it('are at most a thousand, which is what a server takes', async () => {
    await expect(remove(keys(1_001, 20))).rejects.toThrow('Delete.Objects has more than 1000 entries');
    expect(sent()).toBe(0);
    await remove(keys(1_000, 20));
    expect(sent()).toBe(1);
  });

  it('are each looked for in the message about it alone', async () => {
    const names = keys(1_000, 900);
    const Errors = names.map((name) => ({
      Key: `tenants/acme/${name}`,
      Code: 'AccessDenied',
      Message: `no tenants/acme/${name}, and nothing of tenants/acme/${names[0]}`,
    }));
    install(s3, answers({ Errors }), LAST);
    const { result, looks } = await counted(() => remove(names));
    const reply = result as { Errors: { Key: string; Message: string }[] };
    expect(reply.Errors[7]).toMatchObject({
      Key: names[7],
      Message: `no ${names[7]}, and nothing of ${names[0]}`,
    });
    // A thousand keys looked for in a thousand messages are a million looks, which took minutes.
    expect(looks).toBeGreaterThan(names.length);
    expect(looks).toBeLessThan(names.length * 200);
  });

  it('are looked for in the error of all of them', async () => {
    const names = keys(1_000, 900);
    const fail: Middleware = () => () =>
      Promise.reject(
        Object.assign(new Error(`no tenants/acme/${names[3]}`), { Key: `tenants/acme/${names[3]}` }),
      );
    install(s3, fail, LAST);
    const { looks } = await counted(() =>
      expect(remove(names)).rejects.toMatchObject({ message: `no ${names[3]}`, Key: names[3] }),
    );
    expect(looks).toBeGreaterThan(names.length);
    expect(looks).toBeLessThan(names.length * 200);
  });

  it('are looked for in a spelling that is percent-encoded, too', async () => {
    const fail: Middleware = () => () =>
      Promise.reject(new Error(`no tenants/acme/a%20b%21 and no tenants/acme/a b!`));
    install(s3, fail, LAST);
    const get = withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'a b!' })));
    await expect(get).rejects.toThrow('no a%20b%21 and no a b!');
  });
});

describe('a signal', () => {
  const get = (abortSignal: AbortSignal): Promise<unknown> =>
    withTenant('acme', () => s3.send(new GetObjectCommand({ Key: 'missing' }), { abortSignal }));

  it('that throws is thrown before anything is sent, and takes no connection', async () => {
    for (const method of ['addEventListener', 'aborted'] as const) {
      const { signal } = new AbortController();
      Object.defineProperty(signal, method, {
        get() {
          throw new Error('a trap');
        },
      });
      await expect(get(signal)).rejects.toThrow('a trap');
    }
    expect(sent()).toBe(0);
    const traps = Array.from({ length: 100 }, () => {
      const signal = new AbortController().signal;
      signal.removeEventListener = () => {
        throw new Error('a trap');
      };
      return get(signal).catch((error: unknown) => (error as Error).name);
    });
    await Promise.all(traps);
    // There are fifty connections.
    await withTenant('acme2', () => s3.send(new PutObjectCommand({ Key: 'one', Body: 'of acme2' })));
  });

  it('still ends the call, before and while it is under way', async () => {
    await expect(get(AbortSignal.abort())).rejects.toMatchObject({ name: 'AbortError' });
    const controller = new AbortController();
    const handle = s3.config.requestHandler.handle;
    s3.config.requestHandler.handle = (...args: Parameters<typeof handle>) => {
      queueMicrotask(() => controller.abort());
      return handle(...args);
    };
    await expect(get(controller.signal)).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('a request', () => {
  it('whose head is too long for a server is not sent, since that would close the connection', async () => {
    const put = (Metadata: Record<string, string>): Promise<unknown> =>
      withTenant('acme', () => s3.send(new PutObjectCommand({ Key: 'one', Body: 'x', Metadata })));
    await expect(put({ a: 'x'.repeat(20_000) })).rejects.toThrow('too long');
    await expect(put({ a: 'é'.repeat(7_000) })).rejects.toThrow('too long');
    const many = (count: number): Record<string, string> =>
      Object.fromEntries(Array.from({ length: count }, (_, index) => [index.toString(36), '']));
    for (const count of [900, 101]) await expect(put(many(count))).rejects.toThrow('too many names');
    for (const text of ['x'.repeat(20_000), '€'.repeat(1_400)]) {
      const get = new GetObjectCommand({ Key: 'one', ResponseContentDisposition: text });
      await expect(withTenant('acme', () => s3.send(get))).rejects.toThrow('too long');
    }
    expect(sent()).toBe(0);
    await put({ a: 'x'.repeat(1_000) });
    await put(many(100));
    expect(sent()).toBe(2);
  });

  it('with a key that is far too long is refused at once', async () => {
    const put = (Key: string): Promise<unknown> =>
      withTenant('acme', () => s3.send(new PutObjectCommand({ Key, Body: 'x' })));
    const normalize = vi.spyOn(String.prototype, 'normalize');
    onTestFinished(() => normalize.mockRestore());
    await expect(put('a\u0301\u0323'.repeat(300_000))).rejects.toThrow(OperationRefusedError);
    // To bring it into its normal form would take minutes.
    expect(normalize.mock.contexts.filter((text) => String(text).length > 10_000)).toEqual([]);
    await put('é');
    expect(normalize.mock.contexts.map(String)).toContain('é');
  });
});

import { PutBucketVersioningCommand as RawPutBucketVersioningCommand } from '@aws-sdk/client-s3';
import {
  ConfigError,
  IsolationBreachError,
  StoreUnreachableError,
  auditChannels,
  isVerified,
  withTenant,
} from '@tenantkit/core';
import { PutObjectCommand, S3Client, storageEraser } from '@tenantkit/storage';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { CUT, altered, everything, proxied, put, run, type Passing } from './erase-support.ts';
import { open, type Opened } from './open.ts';

afterEach(() => void vi.useRealTimers());

const SCOPE = { tenant: 'acme' };

const erase = (s3: S3Client, { bucket }: Opened, more = {}) =>
  storageEraser(s3, { bucket }).erase(SCOPE, run(more));

/** Writes `a` and `b` for two tenants. */
async function filled(own: Opened): Promise<void> {
  for (const tenant of ['acme', 'acme2'])
    for (const key of ['a', 'b']) await put(own, `tenants/${tenant}/${key}`);
}

const objectsOf = ({ input }: Passing): { Key: string; VersionId?: string }[] =>
  (input['Delete'] as { Objects: { Key: string }[] }).Objects;

const service = (name: string, httpStatusCode: number): Error =>
  Object.assign(new Error(name), { name, $metadata: { httpStatusCode } });

describe('what a server answers to a batch', () => {
  it('is tried again for a key that was put off, until it is done', async () => {
    await using own = await open();
    await filled(own);
    const asked: number[] = [];
    const commands: string[] = [];
    using s3 = altered(own, async (passing) => {
      commands.push(passing.command);
      if (passing.command !== 'DeleteObjectsCommand') return passing.next();
      const [first, ...others] = objectsOf(passing);
      asked.push(others.length + 1);
      if (asked.length > 3) return passing.next();
      if (others.length > 0)
        await passing.next({ ...passing.input, Delete: { Objects: others, Quiet: true } });
      return {
        Errors: [{ ...first, Code: ['SlowDown', 'InternalError', 'ServiceUnavailable'][asked.length - 1] }],
      };
    });
    const { erased } = await erase(s3, own);
    expect(erased).toContainEqual({ kind: 'objects', count: 2, bytes: 2 });
    // The one that was done is not asked for again.
    expect(asked).toEqual([2, 1, 1, 1]);
    // And nothing is listed in between.
    const first = commands.indexOf('DeleteObjectsCommand');
    expect(new Set(commands.slice(first, first + 4))).toEqual(new Set(['DeleteObjectsCommand']));
    expect(await everything(own)).toHaveLength(2);
  });

  it('is an error of all where an error names no key', async () => {
    await using own = await open();
    await filled(own);
    for (const error of [{ Code: 'AccessDenied' }, { Key: 'tenants/acme2/a', Code: 'AccessDenied' }, {}]) {
      using s3 = altered(own, (passing) =>
        passing.command === 'DeleteObjectsCommand' ? Promise.resolve({ Errors: [error] }) : passing.next(),
      );
      const failed = await erase(s3, own).catch((reason: unknown) => reason);
      expect(failed).toBeInstanceOf(ConfigError);
      expect(failed).toMatchObject({ message: expect.stringContaining('did not delete 2 objects') });
      expect((failed as Error).message).not.toContain('acme');
    }
    expect(await everything(own)).toHaveLength(4);
  });

  it('that names what it was not asked to delete is a breach', async () => {
    await using own = await open();
    await filled(own);
    const breaches: unknown[] = [];
    const listen = (event: unknown): number => breaches.push(event);
    auditChannels.breach.subscribe(listen);
    using s3 = altered(own, async (passing) =>
      passing.command === 'DeleteObjectsCommand'
        ? { ...(await passing.next()), Deleted: [{ Key: 'tenants/acme2/a' }] }
        : passing.next(),
    );
    await expect(erase(s3, own)).rejects.toThrow(IsolationBreachError);
    auditChannels.breach.unsubscribe(listen);
    expect(breaches).toHaveLength(1);
    // A server that is not quiet, and names what it was asked for, is none.
    using loud = altered(own, async (passing) =>
      passing.command === 'DeleteObjectsCommand'
        ? { ...(await passing.next()), Deleted: objectsOf(passing) }
        : passing.next(),
    );
    await put(own, 'tenants/acme/a');
    await erase(loud, own);
    expect(await everything(own)).toHaveLength(2);
  });

  it('is not believed where the objects are still listed', async () => {
    await using own = await open();
    await filled(own);
    let batches = 0;
    using s3 = altered(own, (passing) => {
      if (passing.command !== 'DeleteObjectsCommand') return passing.next();
      batches += 1;
      return Promise.resolve({});
    });
    await expect(erase(s3, own)).rejects.toThrow(/after 20 passes the bucket still lists objects/);
    expect(batches).toBe(20);
    expect(await everything(own)).toHaveLength(4);
  });

  it('that an object is gone already is as good as done', async () => {
    await using own = await open({ traits: { versioned: true } });
    await filled(own);
    using s3 = altered(own, async (passing) => {
      if (passing.command !== 'DeleteObjectsCommand') return passing.next();
      await passing.next();
      return { Errors: objectsOf(passing).map((one) => ({ ...one, Code: 'NoSuchVersion' })) };
    });
    const { kept } = await erase(s3, own);
    expect(kept).toEqual([]);
    expect(await everything(own)).toHaveLength(2);
    // But not for ever, while it is listed.
    await put(own, 'tenants/acme/a');
    using liar = altered(own, async (passing) =>
      passing.command === 'DeleteObjectsCommand'
        ? { Errors: objectsOf(passing).map((one) => ({ ...one, Code: 'NoSuchVersion' })) }
        : passing.next(),
    );
    await expect(erase(liar, own)).rejects.toThrow('still lists objects');
  });
});

describe('a listing', () => {
  it.each([false, true])(
    'that names what is not the tenant’s is a breach, versioned: %s',
    async (versioned) => {
      await using own = await open({ traits: { versioned } });
      await filled(own);
      const before = await everything(own);
      using s3 = altered(own, ({ input, next }) =>
        next('Prefix' in input ? { ...input, Prefix: '' } : input),
      );
      const eraser = storageEraser(s3, { bucket: own.bucket });
      await expect(eraser.erase(SCOPE, run())).rejects.toThrow(IsolationBreachError);
      // Counted, they would be another tenant's.
      await expect(eraser.plan(SCOPE)).rejects.toThrow(IsolationBreachError);
      await expect(eraser.verify(SCOPE)).rejects.toThrow(IsolationBreachError);
      expect(await everything(own)).toEqual(before);
    },
  );

  it('with a key of bytes that are no UTF-8 hides no other key, nor stops another tenant', async () => {
    await using own = await open();
    using s3 = altered(own, async ({ command, input, next }) => {
      if (command !== 'ListObjectsV2Command') return next();
      const prefix = String(input['Prefix']);
      if (prefix === 'tenants/acme/')
        return { EncodingType: 'url', Contents: [{ Key: `${prefix}%FFa+b` }, { Key: `${prefix}a` }] };
      const old = { Key: `${prefix}%FF`, LastModified: new Date(0) };
      return prefix === 'tenants/tk-control-' ? { EncodingType: 'url', Contents: [old] } : next();
    });
    const eraser = storageEraser(s3, { bucket: own.bucket });
    const { items, notes } = await eraser.plan(SCOPE);
    expect(items).toContainEqual({ kind: 'objects', count: 2, bytes: 0 });
    expect(notes).toContainEqual(
      expect.stringContaining('1 objects or uploads have keys of bytes that are no UTF-8'),
    );
    expect((await eraser.plan({ tenant: 'acme2' })).notes?.join()).not.toContain('UTF-8');
    const { control } = await eraser.verify({ tenant: 'acme2' });
    expect(control.found).toBe(control.planted);
  });

  it('with such a key ends an erasure with an error, after everything else is erased', async () => {
    for (const versioned of [false, true]) {
      await using own = await open({ traits: { versioned } });
      await filled(own);
      let deleted = 0;
      let listed = 0;
      using s3 = altered(own, async ({ command, input, next }) => {
        if (command === 'DeleteObjectsCommand' || command === 'DeleteObjectCommand') deleted += 1;
        const answer = await next();
        if (!/^ListObjects?V/.test(command) || input['Prefix'] !== 'tenants/acme/') return answer;
        listed += 1;
        const [field, more] = versioned ? ['Versions', { VersionId: 'v' }] : ['Contents', {}];
        const found = (answer as Record<string, object[] | undefined>)[field] ?? [];
        const odd = ['%FF', 'a%80'].map((key) => ({ Key: `tenants/acme/${key}`, ...more }));
        return { ...answer, EncodingType: 'url', [field]: [...found, ...odd] };
      });
      await expect(erase(s3, own)).rejects.toThrow(
        '2 objects or uploads have keys of bytes that are no UTF-8',
      );
      expect(await everything(own)).toHaveLength(2);
      // Not until the last pass, of which there may be twenty.
      expect([listed, deleted]).toEqual([2, 1]);
      const { remaining } = await storageEraser(s3, { bucket: own.bucket }).verify(SCOPE);
      expect(remaining.reduce((sum, { count }) => sum + count, 0)).toBe(2);
      await erase(own.s3, own);
    }
  });

  it('with such a key that is a person’s by its name ends their erasure in the same way', async () => {
    await using own = await open();
    for (const key of ['users/p/a', 'users/q/a']) await put(own, `tenants/acme/${key}`);
    const judged: unknown[] = [];
    const answer = async ({ command, input, next }: Passing): Promise<object> => {
      if (command === 'HeadObjectCommand') judged.push(input['Key']);
      const found = (await next()) as { Contents?: object[] };
      if (command !== 'ListObjectsV2Command' || input['Prefix'] !== 'tenants/acme/users/p/') return found;
      const odd = { Key: 'tenants/acme/users/p/%FF' };
      return { ...found, EncodingType: 'url', Contents: [...(found.Contents ?? []), odd] };
    };
    using s3 = altered(own, answer, { subjects: ['users/{subject}/**'] });
    const eraser = storageEraser(s3, { bucket: own.bucket });
    await expect(eraser.erase({ ...SCOPE, subject: 'p' }, run())).rejects.toThrow(
      '1 objects or uploads have keys of bytes',
    );
    expect(judged).toEqual(['tenants/acme/users/p/a']);
    expect(await everything(own)).toHaveLength(1);
    const { erased } = await eraser.erase({ ...SCOPE, subject: 'q' }, run());
    expect(erased).toContainEqual(expect.objectContaining({ kind: 'objects', count: 1 }));
  });

  it.each([false, true])(
    'with such a key among the markers of a person ends their erasure so, versioned: %s',
    async (versioned) => {
      await using own = await open({ traits: { versioned }, tenant: { subjects: ['users/{subject}/**'] } });
      for (const subject of ['p', 'q'])
        await withTenant({ ...SCOPE, subject }, () =>
          own.s3.send(new PutObjectCommand({ Key: `of-${subject}`, Body: 'x' })),
        );
      await put(own, 'tenants/acme/users/p/a');
      const [listing, field] = versioned
        ? (['ListObjectVersionsCommand', 'Versions'] as const)
        : (['ListObjectsV2Command', 'Contents'] as const);
      using s3 = altered(
        own,
        async ({ command, input, next }) => {
          const found = (await next()) as Record<string, object[] | undefined>;
          if (command !== listing || input['Prefix'] !== 'tk!subjects/acme/p/') return found;
          const odd = { Key: 'tk!subjects/acme/p/k/%FF', VersionId: 'v' };
          return { ...found, EncodingType: 'url', [field]: [...(found[field] ?? []), odd] };
        },
        { subjects: ['users/{subject}/**'] },
      );
      const eraser = storageEraser(s3, { bucket: own.bucket });
      const p = { ...SCOPE, subject: 'p' };
      // Whoever approves it sees what will be left, and what there is besides.
      const { items, notes } = await eraser.plan(p);
      expect(items).toContainEqual(
        expect.objectContaining({ kind: field.toLowerCase().replace('contents', 'objects'), count: 2 }),
      );
      expect(notes).toContainEqual(
        expect.stringMatching(/^1 objects or uploads have keys .* the erasure fails/),
      );
      expect((await eraser.plan({ ...SCOPE, subject: 'q' })).notes?.join()).not.toContain(
        'the erasure fails',
      );
      await expect(eraser.verify(p)).rejects.toThrow('1 objects or uploads have keys of bytes');
      await expect(eraser.erase(p, run())).rejects.toThrow('1 objects or uploads have keys of bytes');
      // Everything else is gone, and others are not concerned.
      expect((await everything(own)).map((name) => name.split(' ')[0])).toEqual([
        'tenants/acme/of-q',
        'tk!subjects/acme/q/k/of-q',
      ]);
      await eraser.erase({ ...SCOPE, subject: 'q' }, run());
      expect(await everything(own)).toEqual([]);
    },
  );

  it.each([false, true])(
    'of a person’s keys that names one which is not found is not taken for clean, versioned: %s',
    async (versioned) => {
      await using own = await open({ traits: { versioned } });
      await put(own, 'tenants/acme/users/p/a');
      // This much, a server that has made text of them says of bytes that are no UTF-8.
      const key = 'tenants/acme/users/p/\uFFFD';
      const odd = { Key: encodeURIComponent(key), VersionId: 'v', Size: 1 };
      let listed = 0;
      using s3 = altered(
        own,
        async ({ command, input, next }) => {
          const found = (await next()) as Record<string, object[] | undefined>;
          const prefix = (input['Prefix'] as string | undefined) ?? '-';
          if (!command.startsWith('ListObject') || !key.startsWith(prefix) || !prefix.includes('users'))
            return found;
          listed += 1;
          const field = versioned ? 'Versions' : 'Contents';
          return { ...found, EncodingType: 'url', [field]: [...(found[field] ?? []), odd] };
        },
        { subjects: ['users/{subject}/**'] },
      );
      const eraser = storageEraser(s3, { bucket: own.bucket });
      const p = { ...SCOPE, subject: 'p' };
      await expect(eraser.erase(p, run())).rejects.toThrow('still lists objects');
      expect(listed).toBeGreaterThan(0);
      const verified = await eraser.verify(p);
      expect(isVerified(verified)).toBe(false);
      expect(verified.remaining).toContainEqual(expect.objectContaining({ count: 1 }));
      // Their server's listing is what stands in the way.
      const honest = new S3Client({
        ...own.options,
        tenant: { buckets: [own.bucket], subjects: ['users/{subject}/**'] },
      });
      expect(isVerified(await storageEraser(honest, { bucket: own.bucket }).verify(p))).toBe(true);
      honest.destroy();
    },
  );

  it.each([false, true])(
    'goes on behind such keys, and tells each once, versioned: %s',
    async (versioned) => {
      await using own = await open({ traits: { versioned } });
      const keys = ['%7F', '%80', '%C3%A9', '%C3', '%EF%BF%BD', '%F0%9F', '%FF', '%FF%FF', 'a'];
      const bytesOf = (key: string): Buffer =>
        Buffer.from(
          key.replace(
            /%(..)|(.)/g,
            (_, hex?: string, char = '') => hex ?? Buffer.from(char as string).toString('hex'),
          ),
          'hex',
        );
      const sorted = keys
        .map((key) => `tenants/acme/${key}`)
        .sort((a, b) => Buffer.compare(bytesOf(a), bytesOf(b)));
      using s3 = altered(own, ({ command, input, next }) => {
        if (!/^ListObjects?V/.test(command) || input['Prefix'] !== 'tenants/acme/') return next();
        // As Ceph does: a token is the next key, as much of it as XML can say.
        const { ContinuationToken, StartAfter, KeyMarker } = input as Record<string, string | undefined>;
        const after = Buffer.from(ContinuationToken ?? StartAfter ?? KeyMarker ?? '');
        const behind = sorted.filter((key) => Buffer.compare(bytesOf(key), after) > 0);
        const page = behind
          .slice(0, 2)
          .map((Key) => ({ Key, Size: 1, ...(versioned ? { VersionId: 'v' } : {}) }));
        const last = page.at(-1)?.Key ?? '';
        return Promise.resolve({
          EncodingType: 'url',
          IsTruncated: behind.length > 2,
          NextContinuationToken: bytesOf(last).toString(),
          NextKeyMarker: last,
          NextVersionIdMarker: 'v',
          [versioned ? 'Versions' : 'Contents']: page,
        });
      });
      const { items, notes } = await storageEraser(s3, { bucket: own.bucket }).plan(SCOPE);
      expect(items).toContainEqual(expect.objectContaining({ count: keys.length, bytes: keys.length }));
      expect(notes?.join()).toContain('5 objects or uploads have keys');
    },
  );

  it('that begins again behind such a key ends with an error', async () => {
    await using own = await open({ traits: { versioned: true } });
    using s3 = altered(own, ({ command, next }) =>
      command === 'ListObjectVersionsCommand'
        ? Promise.resolve({ EncodingType: 'url', IsTruncated: true, NextKeyMarker: 'tenants/acme/%FF' })
        : next(),
    );
    const eraser = storageEraser(s3, { bucket: own.bucket });
    await expect(eraser.plan(SCOPE)).rejects.toThrow('bytes that are no UTF-8');
  });

  it('that names uploads of another tenant is one, too', async () => {
    await using own = await open();
    await filled(own);
    const before = await everything(own);
    let aborted = 0;
    using s3 = altered(own, ({ command, next }) => {
      if (command === 'AbortMultipartUploadCommand') aborted += 1;
      return command === 'ListMultipartUploadsCommand'
        ? Promise.resolve({ EncodingType: 'url', Uploads: [{ Key: 'tenants/acme2/x', UploadId: 'y' }] })
        : next();
    });
    await expect(erase(s3, own)).rejects.toThrow(IsolationBreachError);
    expect(aborted).toBe(0);
    expect(await everything(own)).toEqual(before);
  });
});

describe('a bucket', () => {
  it('whose versioning is switched on meanwhile is emptied all the same', async () => {
    await using own = await open();
    await filled(own);
    let switched = false;
    using s3 = altered(own, async (passing) => {
      if (passing.command === 'DeleteObjectsCommand' && !switched) {
        switched = true;
        const VersioningConfiguration = { Status: 'Enabled' } as const;
        await own.raw.send(
          new RawPutBucketVersioningCommand({ Bucket: own.bucket, VersioningConfiguration }),
        );
      }
      return passing.next();
    });
    const { erased } = await erase(s3, own);
    expect(erased.map(({ kind }) => kind)).toEqual(['uploads', 'objects', 'versions', 'delete markers']);
    expect((await everything(own)).map((name) => name.split(' ')[0])).toEqual([
      'tenants/acme2/a',
      'tenants/acme2/b',
    ]);
  });

  it('of a server that cannot list uploads, or say whether there are versions, is not called erased', async () => {
    await using own = await open();
    await filled(own);
    for (const unknown of ['GetBucketVersioningCommand', 'ListMultipartUploadsCommand']) {
      using s3 = altered(own, ({ command, next }) => {
        if (command !== unknown) return next();
        throw service('NotImplemented', 501);
      });
      const refused = await erase(s3, own).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(ConfigError);
      expect(refused).toMatchObject({ message: expect.stringContaining('the server cannot say wh') });
    }
    expect(await everything(own)).toHaveLength(4);
  });

  it('with MFA delete is planned with a note, and refused before anything is deleted', async () => {
    await using own = await open({ traits: { versioned: true } });
    await filled(own);
    const before = await everything(own);
    using s3 = altered(own, async ({ command, next }) => ({
      ...(await next()),
      ...(command === 'GetBucketVersioningCommand' ? { MFADelete: 'Enabled' } : {}),
    }));
    const { notes } = await storageEraser(s3, { bucket: own.bucket }).plan(SCOPE);
    expect(notes).toContainEqual(expect.stringContaining('MFA delete is on'));
    const refused = await erase(s3, own).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ConfigError);
    expect(refused).toMatchObject({ message: expect.stringContaining('MFADelete: Disabled') });
    expect(await everything(own)).toEqual(before);
  });
});

describe('a request', () => {
  it('is tried again where the server asks to slow down, more often than the SDK does', async () => {
    await using own = await open();
    await filled(own);
    const failures = new Map<string, number>();
    using s3 = altered(own, ({ command, next }) => {
      const times = failures.get(command) ?? 0;
      if (times >= 3 || !/^(?:DeleteObjects|ListObjectsV2)Command$/.test(command)) return next();
      failures.set(command, times + 1);
      throw times % 2 === 0
        ? service('SlowDown', 503)
        : Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
    });
    const { erased } = await erase(s3, own);
    expect(erased).toContainEqual({ kind: 'objects', count: 2, bytes: 2 });
    expect(failures.get('DeleteObjectsCommand')).toBe(3);
    expect(failures.get('ListObjectsV2Command')).toBe(3);
  });

  it('is sent again where the connection is cut', async () => {
    await using own = await open();
    await filled(own);
    let cuts = 0;
    await using cut = await proxied(own, (url, method) => {
      if (method !== 'POST' || !url.includes('?delete') || cuts === 4) return undefined;
      cuts += 1;
      return CUT;
    });
    const { erased } = await erase(cut.s3, own);
    expect(erased).toContainEqual({ kind: 'objects', count: 2, bytes: 2 });
    // Three of the SDK's attempts, and one more.
    expect(cuts).toBe(4);
  });

  it('of a listing that breaks off on a later page ends the erasure with its error', async () => {
    await using own = await open();
    await filled(own);
    using s3 = altered(own, async ({ command, input, next }) => {
      if (command !== 'ListObjectsV2Command') return next();
      if ('ContinuationToken' in input) throw service('AccessDenied', 403);
      return { ...(await next()), IsTruncated: true, NextContinuationToken: 'next' };
    });
    await expect(erase(s3, own)).rejects.toMatchObject({ name: 'AccessDenied' });
  });

  it('is not, where the answer will be the same', async () => {
    await using own = await open();
    let asked = 0;
    using s3 = altered(own, () => {
      asked += 1;
      throw service('AccessDenied', 403);
    });
    await expect(erase(s3, own)).rejects.toMatchObject({ name: 'AccessDenied' });
    expect(asked).toBe(1);
  });

  it('ends with the time that it has, and says what the server has answered', async () => {
    await using own = await open();
    using s3 = altered(own, () => {
      throw service('SlowDown', 503);
    });
    let isLate = false;
    const late = setTimeout(() => (isLate = true), 15_000);
    const failed = await storageEraser(s3, { bucket: own.bucket, timeout: 500 })
      .erase(SCOPE, run())
      .catch((error: unknown) => error);
    clearTimeout(late);
    // It would be tried again for half a minute.
    expect(isLate).toBe(false);
    expect(failed).toBeInstanceOf(StoreUnreachableError);
    expect(failed).toMatchObject({ cause: { name: 'SlowDown' } });
  });

  it('ends in its pause when it is told to', { timeout: 30_000 }, async () => {
    await using own = await open();
    await filled(own);
    const controller = new AbortController();
    const reason = new Error('stop here');
    let asked = 0;
    using s3 = altered(own, ({ command, next }) => {
      if (command !== 'DeleteObjectsCommand') return next();
      asked += 1;
      if (asked === 4) {
        // From here on time stands still, and with it the pause.
        vi.useFakeTimers({ toFake: ['setTimeout'] });
        setImmediate(() => controller.abort(reason));
      }
      return Promise.resolve({ Errors: [{ Key: 'tenants/acme/a', Code: 'SlowDown' }] });
    });
    await expect(erase(s3, own, { signal: controller.signal })).rejects.toBe(reason);
    expect(asked).toBe(4);
    expect(vi.isFakeTimers()).toBe(true);
    vi.useRealTimers();
  });
});

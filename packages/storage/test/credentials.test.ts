import { AsyncLocalStorage } from 'node:async_hooks';
import {
  StoreUnreachableError,
  acrossTenants,
  createTenantRegistry,
  currentScope,
  memoryTenantStore,
  withTenant,
} from '@tenantkit/core';
import { GetObjectCommand, PutObjectCommand, S3Client, type TenantIdentity } from '@tenantkit/storage';
import { createPresignedPost, getSignedUrl } from '@tenantkit/storage/presign';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { TenantCredentials } from '../src/credentials.ts';
import { running } from '../src/running.ts';

// When providers are asked, and for whom: no server is needed to see it. What a server makes of it is in sts.test.ts.

const HOUR = 3600_000;
const START = Date.UTC(2026, 0, 1);
let now = START;

/** A provider that counts, and numbers its answers. */
function provider(life: number | undefined = HOUR) {
  const asked: string[] = [];
  const ask = (tenant: string): Promise<TenantIdentity> => {
    asked.push(tenant);
    const expiration = life === Infinity ? {} : { expiration: new Date(now + life) };
    return Promise.resolve({
      accessKeyId: `${tenant}-${asked.length}`,
      secretAccessKey: `secret of ${tenant}`,
      ...expiration,
    });
  };
  return { asked, ask };
}

const get = async (credentials: TenantCredentials, tenant = 'acme', until?: number): Promise<string> =>
  (await credentials.get(tenant, 'GetObjectCommand', until)).accessKeyId;

const REFUSED = (words: string) =>
  expect.objectContaining({ code: 'OPERATION_REFUSED', message: expect.stringContaining(words) as string });

/** After what a resolved promise has set in motion. */
const settled = (): Promise<void> => new Promise(setImmediate);

const failure = (call: () => Promise<unknown>): Promise<unknown> =>
  call().then(
    () => undefined,
    (error: unknown) => error,
  );

describe('the credentials of a tenant', () => {
  beforeEach(() => {
    now = START;
    vi.spyOn(Date, 'now').mockImplementation(() => now);
  });
  afterEach(() => vi.restoreAllMocks());

  it('are asked for once, also by calls at the same time, and are nobody else’s', async () => {
    const { asked, ask } = provider();
    const credentials = new TenantCredentials(ask);
    const tenants = ['acme', 'acme2', 'a', 'a-b', 'ac'];
    const calls = [...tenants, ...tenants].map((tenant) => get(credentials, tenant));
    const answers = ['acme-1', 'acme2-2', 'a-3', 'a-b-4', 'ac-5'];
    expect(await Promise.all(calls)).toEqual([...answers, ...answers]);
    expect(await get(credentials, 'ac')).toBe('ac-5');
    expect(asked).toEqual(tenants);
  });

  it('are renewed in the background of use before they end, and waited for when they have', async () => {
    const { asked, ask } = provider();
    const credentials = new TenantCredentials(ask);
    expect(await get(credentials)).toBe('acme-1');
    now += HOUR * 0.75 - 1;
    expect(await get(credentials)).toBe('acme-1');
    expect(asked).toHaveLength(1);
    now += 1;
    expect(await get(credentials)).toBe('acme-1');
    expect(asked).toHaveLength(2);
    await settled();
    expect(await get(credentials)).toBe('acme-2');
    now += HOUR - 9_000;
    expect(await get(credentials)).toBe('acme-3');
    expect(asked).toHaveLength(3);
  });

  it('without an end are renewed now and then', async () => {
    const { ask } = provider(Infinity);
    const credentials = new TenantCredentials(ask);
    expect(await get(credentials)).toBe('acme-1');
    now += 899_999;
    expect(await get(credentials)).toBe('acme-1');
    now += 1;
    expect(await get(credentials)).toBe('acme-1');
    await settled();
    expect(await get(credentials)).toBe('acme-2');
  });

  it('go on while a renewal fails, and it is not tried with every call', async () => {
    const { asked, ask } = provider();
    let fails = false;
    const credentials = new TenantCredentials((tenant) => {
      if (!fails) return ask(tenant);
      asked.push('failed');
      return Promise.reject(new Error('away'));
    });
    await get(credentials);
    fails = true;
    now += HOUR * 0.8;
    for (let round = 0; round < 5; round += 1) {
      expect(await get(credentials)).toBe('acme-1');
      await settled();
    }
    expect(asked).toEqual(['acme', 'failed']);
    now += 10_000;
    await get(credentials);
    expect(asked).toEqual(['acme', 'failed', 'failed']);
    fails = false;
    now += 10_000;
    await settled();
    await get(credentials);
    await settled();
    expect(await get(credentials)).toBe('acme-4');
  });

  it('that could not be given are asked for again, and told apart from nothing of other tenants', async () => {
    const cause = new Error('the vault is sealed');
    let failures = 1;
    const { ask } = provider();
    const credentials = new TenantCredentials((tenant) =>
      failures-- > 0 ? Promise.reject(cause) : ask(tenant),
    );
    const error = await failure(() => get(credentials));
    expect(error).toEqual(REFUSED('there are no credentials of the tenant'));
    expect(error).toMatchObject({ reason: 'credentials' });
    expect(error).toMatchObject({ cause });
    expect(JSON.stringify(error)).not.toContain('vault');
    expect(await get(credentials)).toBe('acme-1');
  });

  it.each([
    [{}, 'accessKeyId'],
    [undefined, 'credentials:'],
    [{ accessKeyId: 'AK/x', secretAccessKey: 's3cr3t' }, 'accessKeyId'],
    [{ accessKeyId: 'AK\r\nx', secretAccessKey: 's3cr3t' }, 'accessKeyId'],
    [{ accessKeyId: 'AK', secretAccessKey: '' }, 'secretAccessKey'],
    [{ accessKeyId: 'AK', secretAccessKey: 's3cr3t', sessionToken: 's3cr3t token' }, 'sessionToken'],
    [{ accessKeyId: 'AK', secretAccessKey: 's3cr3t', expiration: '2030-01-01' }, 'expiration'],
  ])('%j are none', async (answer, property) => {
    const credentials = new TenantCredentials(() => Promise.resolve(answer as TenantIdentity));
    const error = (await failure(() => get(credentials))) as Error;
    expect(error).toEqual(REFUSED('there are no credentials'));
    expect((error.cause as Error).message).toContain(property);
    expect(`${error.message} ${(error.cause as Error).message}`).not.toContain('s3cr3t');
  });

  it('are read once, into data of our own', async () => {
    let reads = 0;
    const expiration = new Date(now + HOUR);
    const answer = {
      get accessKeyId() {
        reads += 1;
        return reads === 1 ? 'first' : 'second';
      },
      secretAccessKey: 's',
      expiration,
    };
    const credentials = new TenantCredentials(() => Promise.resolve(answer));
    expect(await get(credentials)).toBe('first');
    expiration.setTime(now + 100 * HOUR);
    answer.secretAccessKey = 'other';
    const kept = await credentials.get('acme', 'GetObjectCommand');
    expect(kept).toEqual({
      accessKeyId: 'first',
      secretAccessKey: 's',
      expiration: new Date(now + HOUR),
    });
    expect(reads).toBe(1);
  });

  it('that have ended already are refused', async () => {
    const credentials = new TenantCredentials(provider(-1).ask);
    expect(await failure(() => get(credentials))).toEqual(REFUSED('have ended'));
  });

  it('outlive what is signed until then, or it is refused', async () => {
    const { asked, ask } = provider();
    const credentials = new TenantCredentials(ask);
    expect(await get(credentials, 'acme', now + HOUR - 5_000)).toBe('acme-1');
    now += 1_000;
    // Not those, but new ones live so long.
    expect(await get(credentials, 'acme', now + HOUR - 5_000)).toBe('acme-2');
    expect(await failure(() => get(credentials, 'acme', now + HOUR - 4_999))).toEqual(
      REFUSED('would live longer'),
    );
    expect(await failure(() => get(credentials, 'acme', now + 2 * HOUR))).toEqual(
      REFUSED('would live longer'),
    );
    // Nothing is asked for that could not be had either.
    expect(asked).toHaveLength(2);
    const none = new TenantCredentials(ask);
    expect(await failure(() => get(none, 'acme', now + 2 * HOUR))).toEqual(REFUSED('would live longer'));
  });

  it('are forgotten when the tenant is dropped, also those on their way', async () => {
    const answers: ((identity: TenantIdentity) => void)[] = [];
    const credentials = new TenantCredentials(() => new Promise((resolve) => answers.push(resolve)));
    const identity = (accessKeyId: string): TenantIdentity => ({ accessKeyId, secretAccessKey: 's' });
    const first = get(credentials);
    credentials.drop('acme');
    const second = get(credentials);
    expect(answers).toHaveLength(2);
    answers[1]?.(identity('new'));
    expect(await second).toBe('new');
    answers[0]?.(identity('old'));
    expect(await first).toBe('old');
    expect(await get(credentials)).toBe('new');
  });

  it('are forgotten when the server does not know them, but not with every error', async () => {
    const { asked, ask } = provider();
    const credentials = new TenantCredentials(ask);
    const unknown = Object.assign(new Error(), { name: 'ExpiredToken' });
    await get(credentials);
    credentials.learn('acme', unknown);
    now += 10_001;
    credentials.learn('acme', Object.assign(new Error(), { name: 'AccessDenied' }));
    expect(await get(credentials)).toBe('acme-1');
    credentials.learn('acme2', unknown);
    expect(await get(credentials)).toBe('acme-1');
    credentials.learn('acme', unknown);
    expect(await get(credentials)).toBe('acme-2');
    expect(asked).toHaveLength(2);
  });

  it('are kept for so many tenants, those used last', async () => {
    const { asked, ask } = provider();
    const credentials = new TenantCredentials(ask);
    for (let index = 0; index < 10_000; index += 1) await get(credentials, `t${index}`);
    await get(credentials, 't0');
    await get(credentials, 'one-more');
    expect(asked).toHaveLength(10_001);
    await get(credentials, 't0');
    expect(asked).toHaveLength(10_001);
    await get(credentials, 't1');
    expect(asked).toHaveLength(10_002);
  });

  it('are asked for outside of any tenant and any call', async () => {
    const seen: unknown[] = [];
    const { ask } = provider();
    const credentials = new TenantCredentials((tenant) => {
      seen.push(currentScope(), running.getStore());
      return ask(tenant);
    });
    const mark = new AsyncLocalStorage<string>();
    await mark.run('x', () => withTenant('acme', () => get(credentials)));
    expect(seen).toEqual([undefined, undefined]);
  });

  it('that do not come are not waited for for ever', async () => {
    vi.useFakeTimers();
    const credentials = new TenantCredentials(() => new Promise(() => undefined));
    const call = failure(() => get(credentials));
    await vi.advanceTimersByTimeAsync(30_000);
    expect(await call).toBeInstanceOf(StoreUnreachableError);
    vi.useRealTimers();
  });
});

describe('a client', () => {
  beforeEach(() => {
    now = Date.now();
  });
  const options = {
    region: 'eu-central-1',
    endpoint: 'http://127.0.0.1:9',
    forcePathStyle: true,
    credentials: { accessKeyId: 'THE-CLIENT', secretAccessKey: 'of the client' },
    maxAttempts: 1,
  };
  const keyOf = (url: string): string | undefined =>
    new URL(url).searchParams.get('X-Amz-Credential')?.split('/')[0];
  const sign = (s3: S3Client, expiresIn = 60): Promise<string> =>
    getSignedUrl(s3, new GetObjectCommand({ Key: 'one' }), { expiresIn });

  it('signs with the tenant’s credentials inside of it, and with its own across tenants', async () => {
    const { asked, ask } = provider();
    const s3 = new S3Client({ ...options, tenant: { buckets: ['uploads'], credentials: ask } });
    for (const [index, tenant] of ['acme', 'acme2', 'acme'].entries())
      expect(keyOf(await withTenant(tenant, () => sign(s3)))).toBe(`${tenant}-${(index % 2) + 1}`);
    expect(asked).toEqual(['acme', 'acme2']);
    const bypass = { reason: 'test', actor: 'test' };
    const across = await acrossTenants(bypass, () =>
      getSignedUrl(s3, new GetObjectCommand({ Bucket: 'uploads', Key: 'tenants/acme/one' }) as never),
    );
    expect(keyOf(across)).toBe('THE-CLIENT');
    expect(asked).toHaveLength(2);
  });

  it('does not ask for its own inside of a tenant: it may have none', async () => {
    const credentials = vi.fn<() => Promise<never>>(() => Promise.reject(new Error('none')));
    const s3 = new S3Client({
      ...options,
      credentials,
      tenant: { buckets: ['uploads'], credentials: provider().ask },
    });
    expect(keyOf(await withTenant('acme', () => sign(s3)))).toBe('acme-1');
    await withTenant('acme', () => failure(() => s3.send(new PutObjectCommand({ Key: 'x', Body: 'x' }))));
    expect(credentials).not.toHaveBeenCalled();
  });

  it('shows a placeholder to the middleware of a call', async () => {
    const { ask } = provider();
    const s3 = new S3Client({ ...options, tenant: { buckets: ['uploads'], credentials: ask } });
    const command = new GetObjectCommand({ Key: 'one' });
    const seen: unknown[] = [];
    s3.middlewareStack.add(
      (next) => async (args) => {
        seen.push(await s3.config.credentials());
        return next(args);
      },
      { step: 'build' },
    );
    await withTenant('acme', () => getSignedUrl(s3, command, { expiresIn: 60 }));
    expect(seen).toMatchObject([{ accessKeyId: 'held-by-tenantkit', secretAccessKey: 'held-by-tenantkit' }]);
    expect(JSON.stringify(seen)).not.toContain('acme');
    expect(await failure(() => withTenant('acme', () => s3.config.credentials()))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
  });

  it('presigns with a session token, and with the tenant’s alone', async () => {
    const ask = (tenant: string): Promise<TenantIdentity> =>
      Promise.resolve({ accessKeyId: 'AK', secretAccessKey: 's', sessionToken: `token-of-${tenant}` });
    const s3 = new S3Client({ ...options, tenant: { buckets: ['uploads'], credentials: ask } });
    for (const tenant of ['acme', 'acme2']) {
      const url = new URL(await withTenant(tenant, () => sign(s3)));
      expect(url.searchParams.getAll('X-Amz-Security-Token')).toEqual([`token-of-${tenant}`]);
    }
  });

  it('makes no URL that outlives its credentials', async () => {
    const s3 = new S3Client({
      ...options,
      tenant: { buckets: ['uploads'], credentials: provider(900_000).ask },
    });
    expect(keyOf(await withTenant('acme', () => sign(s3, 880)))).toBe('acme-1');
    expect(await withTenant('acme', () => failure(() => sign(s3, 897)))).toEqual(
      REFUSED('would live longer'),
    );
  });

  it('makes no form that outlives its credentials', async () => {
    const s3 = new S3Client({
      ...options,
      tenant: { buckets: ['uploads'], credentials: provider(600_000).ask },
    });
    const form = (Expires: number) =>
      withTenant('acme', () =>
        createPresignedPost(s3, {
          Key: 'one',
          Fields: { 'Content-Type': 'text/plain' },
          Conditions: [['content-length-range', 1, 100]],
          Expires,
        }),
      );
    expect((await form(590)).fields['X-Amz-Credential']).toMatch(/^acme-1\//);
    expect(await failure(() => form(600))).toEqual(REFUSED('would live longer'));
  });

  it('forgets those of a tenant that is frozen or erased, and signs nothing that was on its way', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const { asked, ask } = provider();
    let gate: Promise<void> = Promise.resolve();
    const credentials = async (tenant: string): Promise<TenantIdentity> => {
      const answer = await ask(tenant);
      await gate;
      return answer;
    };
    const s3 = new S3Client({ ...options, tenant: { buckets: ['uploads'], credentials, fence } });
    expect(keyOf(await withTenant('acme', () => sign(s3)))).toBe('acme-1');
    await fence.freeze('acme');
    expect(await withTenant('acme', () => failure(() => sign(s3)))).toMatchObject({ code: 'TENANT_FENCED' });
    await fence.unfreeze('acme');
    let open = (): void => undefined;
    gate = new Promise((resolve) => (open = resolve));
    const late = withTenant('acme', () => failure(() => sign(s3)));
    await vi.waitFor(() => expect(asked).toHaveLength(2));
    await fence.freeze('acme');
    open();
    expect(await late).toMatchObject({ code: 'TENANT_FENCED' });
    fence.close();
  });

  it('takes a function and nothing else', () => {
    const make = (credentials: unknown) =>
      new S3Client({ ...options, tenant: { buckets: ['uploads'], credentials } as never });
    expect(() => make({ accessKeyId: 'AK', secretAccessKey: 's3cr3t' })).toThrow('must be a function');
  });
});

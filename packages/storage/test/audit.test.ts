import { PutObjectCommand as RawPutObjectCommand } from '@aws-sdk/client-s3';
import {
  ConfigError,
  auditChannels,
  controlTenant,
  createTenantRegistry,
  memoryTenantStore,
  withTenant,
  type Finding,
} from '@tenantkit/core';
import { PutObjectCommand, storageAuditor } from '@tenantkit/storage';
import { describe, expect, it } from 'vitest';
import { open, type Opened } from './open.ts';

const signal = new AbortController().signal;

async function findings({ s3, bucket }: Opened, until = signal): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const finding of storageAuditor(s3, { bucket }).audit(until)) found.push(finding);
  // What a server does not know is no finding about what is stored; see audit-bucket.test.ts.
  return found.filter(({ code }) => code !== 'not_examined');
}

describe('the auditor', () => {
  it('finds nothing where only the client has written, and what was written past it', async () => {
    await using own = await open();
    for (const tenant of ['acme', 'acme2', 'a-b']) {
      for (const Key of ['one', 'folder/', 'a%2Fb', 'é', '...']) {
        await withTenant(tenant, () => own.s3.send(new PutObjectCommand({ Key, Body: 'x' })));
      }
    }
    expect(await findings(own)).toEqual([]);

    const planted: readonly (readonly [key: string, code: string])[] = [
      ['loose.txt', 'outside_every_tenant'],
      ['tenants/loose.txt', 'outside_every_tenant'],
      ['tenants/ac me/x', 'outside_every_tenant'],
      ['other/acme/x', 'outside_every_tenant'],
      ['tenants/acme/../acme2/x', 'refused_name'],
      ['tenants/acme//x', 'refused_name'],
      ['tenants/acme/a\u0001b', 'refused_name'],
      ['tenants/acme/\u202egpj.exe', 'refused_name'],
      ['tenants/acme/', 'refused_name'],
      ['tenants/acme/%2e%2e/x', 'refused_name'],
      [`tenants/${controlTenant()}/control`, 'control_left'],
      ['tk!/marker', 'unknown_reserved_name'],
    ];
    for (const [Key] of planted) {
      await own.raw.send(new RawPutObjectCommand({ Bucket: own.bucket, Key, Body: 'x' }));
    }
    const found = await findings(own);
    expect(found.map(({ code }) => code).sort()).toEqual(planted.map(([, code]) => code).sort());
    for (const { name, message, hint, store } of found) {
      expect(`${name}${message}${hint}`).toMatch(/^[\x20-\x7e]+$/);
      expect(store).toBe(`storage:${own.bucket}`);
    }
    expect(found.map(({ name }) => name)).toContain('tenants/acme/\\u{202e}gpj.exe');
    // Which rule is broken, since a name may look like any other.
    const told = (Key: string) => found.find(({ name }) => name === Key)?.message;
    expect(told('tenants/acme//x')).toContain('What follows the prefix has a leading slash at index 0.');
    expect(told('tenants/acme/')).toContain('What follows the prefix is empty.');
    expect(told('loose.txt')).not.toContain('What follows');
  });

  it('reads page after page, from whatever context, and publishes one bypass', async () => {
    await using own = await open();
    const keys = Array.from({ length: 1_001 }, (_, index) => `loose-${index}`).values();
    await Promise.all(
      Array.from({ length: 16 }, async () => {
        for (const Key of keys)
          await own.raw.send(new RawPutObjectCommand({ Bucket: own.bucket, Key, Body: 'x' }));
      }),
    );
    const bypasses: unknown[] = [];
    const listen = (event: unknown): number => bypasses.push(event);
    auditChannels.bypass.subscribe(listen);
    let count = 0;
    const audit = storageAuditor(own.s3, { bucket: own.bucket }).audit(signal)[Symbol.asyncIterator]();
    for (
      let step = await audit.next();
      step.done !== true;
      step = await withTenant('acme', () => audit.next())
    )
      count += step.value.code === 'outside_every_tenant' ? 1 : 0;
    auditChannels.bypass.unsubscribe(listen);
    expect(count).toBe(1_001);
    expect(bypasses).toHaveLength(1);
  });

  it('finds what was written for an erased tenant, when the client has a fence', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    await using own = await open({ tenant: { fence } });
    await withTenant('acme', () => own.s3.send(new PutObjectCommand({ Key: 'one', Body: 'x' })));
    expect(await findings(own)).toEqual([]);
    await fence.markErased('acme');
    expect(await findings(own)).toMatchObject([{ code: 'erased_tenant', severity: 'critical' }]);
    fence.close();
  });

  it('stops when it is told to', async () => {
    await using own = await open();
    const aborted = AbortSignal.abort(new Error('stopped'));
    await expect(findings(own, aborted)).rejects.toThrow('stopped');
  });

  it('is made for an accepted bucket of a guarded client only', async () => {
    await using own = await open();
    expect(() => storageAuditor(own.s3, { bucket: 'another-one' })).toThrow(ConfigError);
    expect(() => storageAuditor(own.raw as never, { bucket: own.bucket })).toThrow(ConfigError);
  });
});

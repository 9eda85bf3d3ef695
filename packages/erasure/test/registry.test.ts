import { readFileSync } from 'node:fs';
import { stripTypeScriptTypes } from 'node:module';
import { join } from 'node:path';
import { createTenantRegistry, type TenantStore } from '@tenantkit/core';
import { freshRedis } from '@tenantkit/testing';
import { Redis } from 'ioredis';
import { describe, expect, inject, it, onTestFinished } from 'vitest';

/** The store of the README of core, as it stands there. */
async function documented(redis: Redis): Promise<TenantStore> {
  const readme = readFileSync(join(import.meta.dirname, '../../core/README.md'), 'utf8');
  const section = readme.slice(readme.indexOf('## A registry that processes share'));
  const block = /```ts\n([^]*?)```/.exec(section)?.[1] ?? '';
  const code = block.slice(block.indexOf('const KEY'), block.indexOf('const redis = new Redis'));
  const module = (await import(`data:text/javascript,${encodeURIComponent(stripTypeScriptTypes(code))}`)) as {
    readonly redisTenantStore: (redis: Redis) => TenantStore;
  };
  return module.redisTenantStore(redis);
}

describe('the registry of the README', () => {
  it('is shared by processes, and never forgets a tombstone', async () => {
    const own = await freshRedis(inject('servers').redis);
    const redis = new Redis(own.url);
    onTestFinished(async () => {
      redis.disconnect();
      await own.cleanup();
    });
    const open = async () => {
      const fence = await createTenantRegistry({ store: await documented(redis) });
      onTestFinished(() => fence.close());
      return fence;
    };
    const [service, eraser] = [await open(), await open()];
    await eraser.freeze('acme');
    await eraser.freeze('acme2');
    expect(service.state('acme')).toBe('active');
    await service.refresh();
    expect([service.state('acme'), service.state('acme2'), service.state('a')]).toEqual([
      'frozen',
      'frozen',
      'active',
    ]);
    await eraser.markErased('acme');
    await eraser.unfreeze('acme2');
    await expect(service.unfreeze('acme')).rejects.toMatchObject({ code: 'TENANT_FENCED' });
    await service.refresh();
    const late = await open();
    expect([late.state('acme'), late.state('acme2'), service.state('acme2')]).toEqual([
      'erased',
      'active',
      'active',
    ]);
  });
});

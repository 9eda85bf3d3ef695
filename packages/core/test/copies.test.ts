import { cp, mkdtemp, rm, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import * as first from '../src/index.ts';

// A second copy in another folder: other module instances, other classes, as with two versions in one tree.
const packageFolder = dirname(dirname(fileURLToPath(import.meta.url)));
let folder: string;
let second: typeof first;

beforeAll(async () => {
  folder = await mkdtemp(join(packageFolder, '.copy-'));
  await cp(join(packageFolder, 'src'), join(folder, 'src'), { recursive: true });
  await symlink(join(packageFolder, 'node_modules'), join(folder, 'node_modules'));
  second = (await import(pathToFileURL(join(folder, 'src/index.ts')).href)) as typeof first;
});

afterAll(() => rm(folder, { recursive: true, force: true }));

describe('two copies of core in one process', () => {
  it('are two copies', () => {
    expect(second.withTenant).not.toBe(first.withTenant);
    expect(second.MissingTenantError).not.toBe(first.MissingTenantError);
  });

  it('share one context, both ways', () => {
    expect(first.withTenant('acme', () => second.requireTenant().tenant)).toBe('acme');
    expect(second.withTenant('acme', () => first.requireTenant().tenant)).toBe('acme');
    expect(() => second.withTenant('acme', () => first.withTenant('acme2', () => 'entered'))).toThrow(
      expect.objectContaining({ code: 'TENANT_SWITCH' }),
    );
  });

  it('share the bypass', () => {
    const across = { reason: 'test', actor: 'test' };
    expect(first.acrossTenants(across, () => second.currentScope())).toMatchObject({ bypass: across });
  });

  it('share the audit channels', () => {
    const seen: unknown[] = [];
    const listen = (event: unknown): number => seen.push(event);
    first.auditChannels.refused.subscribe(listen);
    expect(() => second.requireTenant()).toThrow('No tenant');
    first.auditChannels.refused.unsubscribe(listen);
    expect(seen).toHaveLength(1);
  });

  it('know each other’s errors by isTenantkitError, where instanceof does not', () => {
    const error = new second.MissingTenantError({ surface: 'cache' });
    expect(error instanceof first.MissingTenantError).toBe(false);
    expect(first.isTenantkitError(error)).toBe(true);
    expect(first.isTenantkitError(new Error('x'))).toBe(false);
  });
});

import type { AllowedScript } from '@tenantkit/cache';
import type { Redis as Raw } from 'ioredis';
import { readFileSync } from 'node:fs';
import type { AddressInfo, Server } from 'node:net';
import { once } from 'node:events';
import { expect } from 'vitest';

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');
const SHA1 = /\b[0-9a-f]{40}\b/g;

/** The scripts that the README lists in the row of a library, as its reader puts them into the options. */
export function scriptsOf(library: string, version: string): readonly AllowedScript[] {
  const row = README.split('\n').find((line) =>
    new RegExp(`^\\| \`${library}\` +\\| ${version} +\\|`).test(line),
  );
  if (row === undefined) throw new Error(`the README has no row for ${library} ${version}`);
  return (row.match(SHA1) ?? []).map((sha1) => ({ sha1 }));
}

/** The libraries that the README lists, and the versions that it says were tested. */
export function listedLibraries(): readonly (readonly [library: string, version: string])[] {
  return [...README.matchAll(/^\| (`.*`.*?) *\| (\d[^ |]*) *\| /gm)].flatMap(([, names = '', tested = '']) =>
    [...names.matchAll(/`([^`]+)`( \d[\d.]*)?/g)].flatMap(([, name = '', own], place) =>
      own === undefined && place > 0 ? [] : [[name, own?.trim() ?? tested] as const],
    ),
  );
}

/** The logical keys of each tenant, once it is sure that there are no others. */
export async function keysByTenant(raw: Raw): Promise<Record<string, string[]>> {
  const keys: Record<string, string[]> = {};
  for (const key of (await raw.keys('*')).sort()) {
    const [, tenant = '', logical = ''] = /^tk:([^:]+):(.*)$/s.exec(key) ?? [];
    expect([key, tenant]).toEqual([key, expect.stringMatching(/^(?:acme|acme2)$/)]);
    (keys[tenant] ??= []).push(logical);
  }
  return keys;
}

/** A web server that listens, and what calls it as a tenant. */
export interface Site {
  get(path: string, tenant: string, headers?: Record<string, string>): Promise<Response>;
  close(): void;
}

export async function site(server: Server): Promise<Site> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    get: (path, tenant, headers = {}) =>
      fetch(`http://127.0.0.1:${port}${path}`, { headers: { 'x-tenant': tenant, ...headers } }),
    close: () => server.close(),
  };
}

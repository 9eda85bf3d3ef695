import { withTenant } from '@tenantkit/core';
import { Redis, cacheEraser, type RedisOptions } from '@tenantkit/cache';
import { startRedisNode, type RedisNode, type StartedGroup } from '@tenantkit/testing/servers';
import { TENANTS } from '@tenantkit/testing';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { TLSSocket } from 'node:tls';
import { Redis as Raw } from 'ioredis';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Storm } from './storm.ts';
import { acme, acme2, failure, shown } from './support.ts';

const trusted = certificate();
const other = certificate();

let server: RedisNode & StartedGroup;
let raw: Raw;
let clients: { disconnect(): void }[] = [];
beforeAll(async () => {
  server = await startRedisNode({ tls: { ...trusted, ca: trusted.cert } });
  raw = new Raw(server.url, { tls: { ca: trusted.cert } });
});
afterAll(async () => {
  raw.disconnect();
  await server.stop();
});
beforeEach(async () => {
  for (const tenant of TENANTS) await raw.set(`tk:${tenant}:key`, `of ${tenant}`);
});
afterEach(() => {
  for (const client of clients) client.disconnect();
  clients = [];
});

function open(options: RedisOptions): Redis {
  const client = new Redis(server.url, options as object);
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

describe('over TLS', () => {
  it.each([{}, { enableAutoPipelining: true }, { lazyConnect: true, protocol: 2 }] as RedisOptions[])(
    'every form of a call is confined: %j',
    async (options) => {
      const client = open({ ...options, tls: { ca: trusted.cert } });
      for (const tenant of TENANTS)
        await withTenant(tenant, async () => {
          const value = `of ${tenant}`;
          expect(await client.get('key')).toBe(value);
          expect(await client.pipeline().get('key').exec()).toEqual([[null, value]]);
          expect(await client.multi().get('key').exec()).toEqual([[null, value]]);
        });
      expect(client.stream).toBeInstanceOf(TLSSocket);
      expect((client.stream as TLSSocket).authorized).toBe(true);
      expect(await failure(() => client.get('key'))).toMatchObject({ code: 'TENANT_MISSING' });
    },
  );

  it('a connection of one tenant is encrypted, too, and nobody else’s', async () => {
    const own = acme(() => open({ tls: { ca: trusted.cert } }).duplicate());
    clients.push(own);
    expect(await acme(() => own.get('key'))).toBe('of acme');
    expect(own.stream).toBeInstanceOf(TLSSocket);
    expect(await failure(() => acme2(() => own.get('key')))).toMatchObject({ code: 'TENANT_SWITCH' });
  });

  it('connections that are killed give no reply to a wrong caller', async () => {
    const client = open({ tls: { ca: trusted.cert }, retryStrategy: () => 1 });
    const storm = new Storm(client, ['acme', 'acme2'], {
      callers: 50,
      expected: /^(?:write EPROTO|Client network socket disconnected)/,
    });
    for (let killed = 0; killed < 30;) {
      await storm.more(Math.floor(Math.random() * 300));
      killed += Number(await raw.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));
    }
    await storm.more(500);
    await storm.stop();
    expect([storm.wrong, storm.lost, storm.strange]).toEqual([[], [], []]);
  });

  it.each([
    ['of another authority', { tls: { ca: other.cert } }, /self-signed certificate/],
    ['of an authority that nobody has named', {}, /self-signed certificate/],
    [
      'that the caller’s own check refuses',
      { tls: { ca: trusted.cert, checkServerIdentity: () => new Error('not this one') } },
      /not this one/,
    ],
  ] as const)('a server with a certificate %s gets no command', async (_, options, problem) => {
    const problems: string[] = [];
    const client = new Redis(server.url, { ...options, retryStrategy: null });
    clients.push(client);
    client.on('error', (error) => problems.push(error.message));
    const before = await commands();
    const error = await acme(() => failure(() => client.set('key', 'stolen')));
    expect(error.message).toBe('Connection is closed.');
    expect(problems.join()).toMatch(problem);
    expect(shown([error, problems])).not.toContain('tk:');
    expect(await commands()).toBe(before);
    expect(await raw.get('tk:acme:key')).toBe('of acme');
  });

  it('an eraser that does not trust the server names it as it was asked for', async () => {
    const client = open({ tls: { ca: other.cert } });
    const error = await failure(() => cacheEraser(client, { timeout: 200 }).plan({ tenant: 'acme' }));
    expect(error).toMatchObject({ code: 'STORE_UNREACHABLE', target: server.url });
  });
});

/** How many SET the server has carried out. */
async function commands(): Promise<number> {
  return Number(/cmdstat_set:calls=(\d+)/.exec(await raw.info('commandstats'))?.[1] ?? 0);
}

/** A certificate for 127.0.0.1 that vouches for itself. */
function certificate(): { readonly key: string; readonly cert: string } {
  const folder = mkdtempSync(join(tmpdir(), 'tk-tls-'));
  const [key, cert] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  try {
    const curve = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-noenc'];
    const names = ['-subj', '/CN=redis.test', '-addext', 'subjectAltName=IP:127.0.0.1'];
    const args = ['req', '-x509', ...curve, '-keyout', key, '-out', cert, '-days', '2', ...names];
    execFileSync('openssl', args, { stdio: ['ignore', 'ignore', 'pipe'] });
    return { key: readFileSync(key, 'utf8'), cert: readFileSync(cert, 'utf8') };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

import { StoreUnreachableError, isVerified, withTenant } from '@tenantkit/core';
import { Redis, cacheAuditor, cacheEraser, indexCache } from '@tenantkit/cache';
import { startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EntryPages } from '../src/entry-pages.ts';
import { PageSize } from '../src/page-size.ts';
import { LateError, isLate } from '../src/raw-call.ts';
import { RawStore } from '../src/raw-store.ts';
import { run } from './erase-run.ts';

const MEGABYTE = 2 ** 20;
// More than the second and the third page of a walk would hold that grows whatever comes.
const COUNT = 60;

// A page is of 16 MB, and SCAN gives somewhat more than it is asked for.
const LIMIT = 28 * MEGABYTE;

const SCOPE = { tenant: 'acme' };
const PERSON = { tenant: 'acme', subject: 'p1' };

let node: Awaited<ReturnType<typeof startRedisNode>>;
let raw: Raw;
let way: Way;
let clients: Redis[] = [];
beforeAll(async () => {
  node = await startRedisNode();
  raw = new Raw(node.url);
});
afterAll(async () => {
  raw.disconnect();
  await node.stop();
});
beforeEach(async () => {
  way = await wayTo(Number(new URL(node.url).port));
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  clients = [];
  await way[Symbol.asyncDispose]();
  await raw.flushall();
});

function guarded(port: number): Redis {
  const client = new Redis(port, { tenant: { index: true } });
  clients.push(client);
  return client;
}

async function fill(count: number, name: string): Promise<void> {
  const client = guarded(Number(new URL(node.url).port));
  for (let n = 0; n < count; n += 1) await withTenant(PERSON, () => client.set(`${n}${name}`, '1'));
  await withTenant('acme2', () => client.set('x', '1'));
}

describe('names of a megabyte', () => {
  it('are read in pages of 16 MB', async () => {
    await fill(COUNT, 'x'.repeat(MEGABYTE));
    const redis = guarded(way.port);
    const eraser = cacheEraser(redis);
    /** What the server has answered at once, at most. */
    const largest = async (work: () => Promise<unknown>): Promise<number> => {
      way.largest = 0;
      await work();
      return way.largest;
    };
    const audited = async (): Promise<void> => {
      const codes: string[] = [];
      for await (const { code } of cacheAuditor(redis, { details: true }).audit()) codes.push(code);
      expect(codes).toEqual(['without_expiry', 'without_expiry']);
    };
    const keys = { kind: 'keys', count: COUNT };
    const works: Record<string, () => Promise<unknown>> = {
      'plan of a person': async () => expect((await eraser.plan(PERSON)).items).toContainEqual(keys),
      'plan of a tenant': async () => expect((await eraser.plan(SCOPE)).items).toContainEqual(keys),
      audit: audited,
      indexCache: async () => expect(await indexCache(redis)).toEqual({ keys: COUNT + 1, tenants: 2 }),
      'erasure of a person': async () =>
        expect((await eraser.erase(PERSON, run())).erased).toEqual([{ kind: 'keys', count: COUNT }]),
    };
    for (const [name, work] of Object.entries(works)) {
      const bytes = await largest(work);
      expect(bytes, name).toBeGreaterThan(MEGABYTE);
      expect(bytes, name).toBeLessThan(LIMIT);
    }
    expect(isVerified(await eraser.verify(PERSON))).toBe(true);
    expect(await raw.keys('tk:*')).toEqual(['tk:acme2:x']);
  });
});

it.each([0, 2])('one long name is seen at either end: %i', async (place) => {
  const names = ['a', 'b', 'c'].map((name, at) => name.repeat(at === place ? 9 * MEGABYTE : 1));
  await raw.zadd('set', ...names.flatMap((name, at) => [at, name]));
  const pages = await EntryPages.of(new RawStore(guarded(way.port), 'test', 'entries', {}), 'set');
  expect(pages.total).toBe(3);
  expect(await pages.first(undefined)).toHaveLength(1);
  const all: string[] = [];
  for await (const some of pages.all()) all.push(...some.map((entry) => entry.toString('latin1', 0, 1)));
  expect(all).toEqual(['a', 'b', 'c']);
});

describe('a page that does not come in time', () => {
  // Enough for every other command of a busy machine.
  const timeout = 1_500;

  it('is asked for again with fewer names', async () => {
    await fill(600, 'x');
    const redis = guarded(way.port);
    await raw.config('RESETSTAT');
    way.delay = /zrange.*\r\n0\r\n\$3\r\n499\r\n/s;
    const { erased } = await cacheEraser(redis, { timeout }).erase(PERSON, run());
    expect(way.delay).toBe(undefined);
    // One at either end, 500 too late, then 62, 248, and what is left.
    expect(await raw.info('commandstats')).toContain('cmdstat_zrange:calls=6,');
    expect(erased).toEqual([{ kind: 'keys', count: 600 }]);
    expect(await raw.keys('tk:*')).toEqual(['tk:acme2:x']);
  });

  it('is no page at all when not even one name comes', async () => {
    await fill(600, 'x');
    const redis = guarded(way.port);
    way.swallow = /zrange.*\r\n0\r\n\$3\r\n499\r\n/s;
    const error: unknown = await cacheEraser(redis, { timeout })
      .erase(PERSON, run())
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'STORE_UNREACHABLE' });
    expect(way.ends).toEqual(['499', '61', '6', '0']);
    expect(await raw.exists('tk:acme:0x')).toBe(1);
  });
});

it('only what was late is asked for in smaller pages', () => {
  const unreachable = (cause: Error): Error =>
    new StoreUnreachableError({ surface: 'cache', operation: 'test', target: 'redis://localhost', cause });
  expect(isLate(unreachable(new LateError(10)))).toBe(true);
  expect(isLate(unreachable(new Error('Connection is closed.')))).toBe(false);
  expect(isLate(new LateError(10))).toBe(false);
});

describe('the size of a page', () => {
  const names = (count: number, length: number): Uint8Array[] =>
    Array.from({ length: count }, () => new Uint8Array(length));

  it('goes by what has come', () => {
    const size = new PageSize(4, 1_000);
    const counts: number[] = [];
    for (const some of [names(4, 10), [], names(60, 100), names(200, 1), names(1_000, 20)]) {
      size.came(some);
      counts.push(size.count);
    }
    expect(counts).toEqual([16, 64, 256, 1_000, 1_000]);
    size.came(names(16, 2 * MEGABYTE));
    expect(size.count).toBe(500);
    size.came(names(8, 4 * MEGABYTE));
    expect(size.count).toBe(250);
  });

  it('is one at least, and as many as are wanted at most', () => {
    expect(new PageSize(0.1, 500).count).toBe(1);
    expect(new PageSize(Infinity, 500).count).toBe(500);
    const size = new PageSize(1, 500);
    size.came(names(1, 64 * MEGABYTE));
    expect(size.count).toBe(1);
    size.came(names(1, 1));
    expect(size.count).toBe(4);
  });

  it('retreats to one when pages are late, and no further', () => {
    const size = new PageSize(500, 500);
    const counts = [];
    while (size.late()) counts.push(size.count);
    expect(counts).toEqual([62, 7, 1]);
  });
});

/** A way to the server that knows how much comes over it at once. */
interface Way extends AsyncDisposable {
  readonly port: number;
  /** How much the server has answered, at most, before the client has gone on; in bytes. */
  largest: number;
  /** What the answer to is kept back until the next command has come; once. */
  delay: RegExp | undefined;
  /** With this command the server falls silent. */
  swallow: RegExp | undefined;
  /** Up to which rank entries were asked for since then. */
  readonly ends: readonly string[];
}

// Longer ones are names, and no commands of interest.
const SHORT = 1_024;

async function wayTo(port: number): Promise<Way> {
  const sockets = new Set<Socket>();
  const ends: string[] = [];
  let isSilent = false;
  const server = createServer((client) => {
    const upstream = connect(port, '127.0.0.1');
    let held: Buffer[] | undefined;
    let bytes = 0;
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
    }
    client.on('data', (chunk: Buffer) => {
      for (const some of held?.splice(0) ?? []) client.write(some);
      held = undefined;
      bytes = 0;
      const text = chunk.length < SHORT ? chunk.toString('latin1') : '';
      if (made.delay?.test(text) === true) {
        held = [];
        made.delay = undefined;
      }
      isSilent ||= made.swallow?.test(text) === true;
      if (isSilent) ends.push(/(\d+)\r\n$/.exec(text)?.[1] ?? '');
      else upstream.write(chunk);
    });
    upstream.on('data', (chunk: Buffer) => {
      bytes += chunk.length;
      made.largest = Math.max(made.largest, bytes);
      if (held === undefined) client.write(chunk);
      else held.push(chunk);
    });
    client.on('close', () => upstream.destroy());
    upstream.on('close', () => client.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  const made: Way = {
    port: address.port,
    largest: 0,
    delay: undefined,
    swallow: undefined,
    ends,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      const closed = once(server, 'close');
      server.close();
      await closed;
    },
  };
  return made;
}

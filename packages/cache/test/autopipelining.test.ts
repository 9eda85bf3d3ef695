import { withTenant } from '@tenantkit/core';
import { Command, Redis } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { Redis as PlainRedis, type Redis as Raw } from 'ioredis';
import { notAllowedAutoPipelineCommands } from 'ioredis/built/autoPipelining.js';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { proxyTo } from './proxy.ts';
import { acme, acme2, openCache, operator, ready, THROWING, NO_TEXT, type Opened } from './support.ts';

let opened: Opened;
let redis: Redis;
let raw: Raw;
beforeAll(async () => {
  opened = await openCache({ enableAutoPipelining: true });
  ({ redis, raw } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await raw.flushdb();
  for (const tenant of TENANTS) await raw.set(`tk:${tenant}:key`, `of ${tenant}`);
});

const refused = expect.objectContaining({ code: 'OPERATION_REFUSED' });

describe('autopipelining', () => {
  it('sends the calls of one turn in one write, each for its own tenant', async () => {
    let writes = 0;
    const socket = redis.stream;
    const host = socket as unknown as { _writev(chunks: unknown[], done: () => void): void };
    const write = host._writev.bind(socket);
    host._writev = (chunks, done) => {
      writes += 1;
      write(chunks, done);
    };
    const values = await Promise.all(
      Array.from({ length: 100 }, (_, n) => TENANTS[n % 5] ?? 'a').map((tenant) =>
        withTenant(tenant, async () => {
          const value = redis.get('key');
          expect(redis.autoPipelineQueueSize).toBeGreaterThan(0);
          return [tenant, await value];
        }),
      ),
    );
    expect(writes).toBe(1);
    expect(redis.autoPipelineQueueSize).toBe(0);
    for (const [tenant, value] of values) expect(value).toBe(`of ${tenant}`);
  });

  it('gives every reply to its caller, whatever else is refused in the same turn', async () => {
    const lateClient = redis as unknown as Record<string, (...args: unknown[]) => Promise<unknown>>;
    const settled = await Promise.allSettled([
      acme(() => redis.get('key')),
      acme(() => redis.config('GET', '*')),
      acme2(() => redis.get('key')),
      redis.get('key'),
      acme(() => redis.set('x', NO_TEXT)),
      acme2(() => redis.get('key')),
      acme(() => redis.set(THROWING, 'x')),
      acme(() => redis.call('FROBNICATE')),
      acme(() => redis.sendCommand(new Command('shutdown'))),
      acme(() => redis.sendCommand(null as unknown as Command)),
      acme(() => redis.multi({ pipeline: false })),
      acme(() => redis.sendCommand(unwritable())),
      acme(() => redis.sendCommand(new Unwritable('get', ['key'], { replyEncoding: 'utf8' }))),
      acme(() => redis.lpush('key', 'x')),
      acme2(() => lateClient['getBuffer']?.('key')),
      acme(() => redis.call('get', 'key')),
    ]);
    expect(
      settled.map((result) => (result.status === 'fulfilled' ? String(result.value) : result.reason)),
    ).toEqual([
      'of acme',
      refused,
      'of acme2',
      expect.objectContaining({ code: 'TENANT_MISSING' }),
      expect.any(TypeError),
      'of acme2',
      new Error('toString has thrown'),
      refused,
      refused,
      refused,
      refused,
      refused,
      'of acme',
      expect.objectContaining({ message: expect.stringMatching(/^WRONGTYPE/) }),
      'of acme2',
      'of acme',
    ]);
    expect(await acme(() => redis.get('key'))).toBe('of acme');
  });

  it('works with callbacks, and goes on in the callback of a reply', async () => {
    const value = await new Promise((resolve, reject) => {
      void acme(() =>
        redis.get('key', (error) => {
          if (error) reject(error);
          else void redis.get('key', (again, second) => (again ? reject(again) : resolve(second)));
        }),
      );
    });
    expect(value).toBe('of acme');
  });

  it('is switched by the options, and leaves out what they say', async () => {
    const own = opened.guarded({ autoPipeliningIgnoredCommands: ['get'] });
    const on = own.duplicate({ enableAutoPipelining: true });
    const off = on.duplicate({ enableAutoPipelining: false });
    const queued = async (client: Redis, call: (client: Redis) => Promise<unknown>): Promise<number> => {
      await ready(client);
      const reply = acme(() => call(client));
      const size = client.autoPipelineQueueSize;
      await reply;
      return size;
    };
    expect(await queued(own, (client) => client.set('x', '1'))).toBe(0);
    expect(await queued(on, (client) => client.set('x', '1'))).toBe(1);
    expect(await queued(on, (client) => client.get('x'))).toBe(0);
    expect(await queued(off, (client) => client.set('x', '1'))).toBe(0);
    for (const client of [on, off]) {
      expect(client.options.autoPipeliningIgnoredCommands).toHaveLength(1);
      client.disconnect();
    }
  });

  // With what each may be asked by an operator.
  const ASKED: Readonly<Record<string, readonly string[]>> = {
    client: ['ID'],
    cluster: ['INFO'],
    script: ['EXISTS', '0'.repeat(40)],
    subscribe: ['channel'],
    psubscribe: ['channel*'],
  };
  // Two of them are no commands.
  const ALONE = notAllowedAutoPipelineCommands.filter((name) => !/^(?:pipeline|unpsubscribe)$/.test(name));
  it.each(ALONE)('leaves out %s, as ioredis does', async (name) => {
    const own = opened.guarded({ enableAutoPipelining: true });
    await ready(own);
    for (const scope of [acme, operator]) {
      const calls = [scope(() => own.call(name, ...(ASKED[name] ?? [])))];
      expect(own.autoPipelineQueueSize).toBe(0);
      // What is asked in the same way, and joins.
      calls.push(scope(() => own.call('get', 'key')));
      expect(own.autoPipelineQueueSize).toBe(1);
      await Promise.allSettled(calls);
    }
    own.disconnect();
  });

  it('waits for the replies of a write before the next, and counts what waits, as ioredis does', async () => {
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const options = {
      port: proxy.port,
      db: Number(pathname.slice(1)),
      enableAutoPipelining: true,
      retryStrategy: null,
    };
    const [own, witness] = [new Redis(options), new PlainRedis(options)];
    await Promise.all([ready(own), ready(witness)]);
    proxy.hold();
    const calls: Promise<unknown>[] = [];
    for (let turn = 0; turn < 5; turn += 1) {
      for (let n = 0; n < 50; n += 1) {
        calls.push(TENANTS[n % 5] === 'acme' ? acme(() => own.get('key')) : acme2(() => own.get('key')));
        calls.push(witness.get('tk:acme:key'));
      }
      await new Promise((resolve) => void setImmediate(resolve));
      await new Promise((resolve) => void setImmediate(resolve));
      for (const client of [own, witness]) {
        expect([turn, client.autoPipelineQueueSize]).toEqual([turn, turn * 50]);
        expect(client.commandQueue).toHaveLength(50);
      }
    }
    proxy.release();
    const values = await Promise.all(calls);
    for (const [index, value] of values.entries()) {
      const isOfAcme = index % 2 === 1 || TENANTS[((index / 2) % 50) % 5] === 'acme';
      expect(value).toBe(isOfAcme ? 'of acme' : 'of acme2');
    }
    expect([own.autoPipelineQueueSize, witness.autoPipelineQueueSize]).toEqual([0, 0]);
    for (const client of [own, witness]) client.disconnect();
  });

  it('goes on when the replies of a write came too late', async () => {
    const { hostname, port, pathname } = new URL(opened.url);
    await using proxy = await proxyTo({ host: hostname, port: Number(port) });
    const own = new Redis({
      port: proxy.port,
      db: Number(pathname.slice(1)),
      enableAutoPipelining: true,
      commandTimeout: 500,
    });
    await ready(own);
    proxy.hold();
    const late = await acme(() => Promise.allSettled([own.get('key'), own.get('key')]));
    for (const result of late) expect(result).toMatchObject({ reason: { message: 'Command timed out' } });
    proxy.release();
    expect(await acme2(() => own.get('key'))).toBe('of acme2');
    own.disconnect();
  });

  it('before the connection is there, keeps the tenant of the call', async () => {
    const own = opened.guarded({ enableAutoPipelining: true, lazyConnect: true });
    const values = await Promise.all(TENANTS.map((tenant) => withTenant(tenant, () => own.get('key'))));
    expect(values).toEqual(TENANTS.map((tenant) => `of ${tenant}`));
  });

  it('does not touch pipelines and transactions', async () => {
    const [piped, multi, single] = await acme(() =>
      Promise.all([redis.pipeline().get('key').exec(), redis.multi().get('key').exec(), redis.get('key')]),
    );
    expect([piped, multi, single]).toEqual([[[null, 'of acme']], [[null, 'of acme']], 'of acme']);
  });
});

// Nobody asks it: what is written is not the caller's object.
class Unwritable extends Command {
  override toWritable(): never {
    throw new RangeError('too long');
  }
}

// ioredis makes arguments text once, when it makes the command.
function unwritable(): Command {
  const command = new Command('set', ['key', 'x']);
  command.args.push(7);
  return command;
}

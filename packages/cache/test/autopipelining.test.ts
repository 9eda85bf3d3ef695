import { withTenant } from '@tenantkit/core';
import { Command, type Redis } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import type { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { acme, acme2, openCache, ready, THROWING, NO_TEXT, type Opened } from './support.ts';

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
      acme(() => redis.sendCommand(new Command('flushall'))),
      acme(() => redis.sendCommand(null as unknown as Command)),
      acme(() => redis.multi({ pipeline: false })),
      acme(() => redis.sendCommand(unwritable())),
      acme(() => redis.sendCommand(new Unwritable('get', ['key']))),
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
      new RangeError('too long'),
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

  it('can be switched on and off, and leaves out what the options say', async () => {
    const own = opened.guarded({ autoPipeliningIgnoredCommands: ['get'] });
    await ready(own);
    const queued = async (call: () => Promise<unknown>): Promise<number> => {
      const reply = acme(call);
      const size = own.autoPipelineQueueSize;
      await reply;
      return size;
    };
    expect(await queued(() => own.set('x', '1'))).toBe(0);
    own.options.enableAutoPipelining = true;
    expect(await queued(() => own.set('x', '1'))).toBe(1);
    expect(await queued(() => own.get('x'))).toBe(0);
    expect(own.options.autoPipeliningIgnoredCommands).toHaveLength(1);
    const copy = own.duplicate();
    expect(copy.options.autoPipeliningIgnoredCommands).toHaveLength(1);
    copy.disconnect();
    own.options.enableAutoPipelining = false;
    expect(await queued(() => own.set('x', '1'))).toBe(0);
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

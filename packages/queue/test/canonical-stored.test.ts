import { Queue as RawQueue } from 'bullmq';
import { Redis } from 'ioredis';
import fc from 'fast-check';
import { freshRedis, type FreshRedis } from '@tenantkit/testing';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { canonicalJson } from '../src/canonical.ts';
import { checkJobOptions, storedOptions } from '../src/job-options.ts';
import { json, wellFormed } from './canonical-support.ts';

let own: FreshRedis;
let redis: Redis;
let queue: RawQueue;

beforeAll(async () => {
  own = await freshRedis(inject('servers').redis);
  redis = new Redis(own.url, { maxRetriesPerRequest: null });
  queue = new RawQueue('canonical', { connection: redis });
});
afterAll(async () => {
  await queue.close();
  redis.disconnect();
  await own.cleanup();
});

describe('canonical JSON, stored', () => {
  it('is the same before and after Lua has stored it', async () => {
    await fc.assert(
      fc.asyncProperty(json.object, async (value) => {
        const stored = String(
          await redis.eval('return cjson.encode(cjson.decode(ARGV[1]))', 0, JSON.stringify(value)),
        );
        expect(canonicalJson(JSON.parse(stored))).toBe(canonicalJson(value));
      }),
      { numRuns: 300 },
    );
  });

  it('is the same before and after BullMQ has stored options through msgpack', async () => {
    const options = fc.record(
      {
        timestamp: fc.nat(2 ** 45),
        delay: fc.double({ min: 1, max: 1e12, noNaN: true }),
        attempts: fc.nat(1_000_000),
        priority: fc.nat(2 ** 21 - 1),
        backoff: fc.record(
          {
            type: wellFormed.filter((type) => type !== '' && !(type in Object.prototype)),
            delay: fc.double({ min: 0, max: 1e9, noNaN: true }),
            jitter: fc.double({ min: 0, max: 1, noNaN: true }),
          },
          { requiredKeys: ['type'] },
        ),
        lifo: fc.boolean(),
        removeOnComplete: fc.oneof(fc.boolean(), fc.nat(), fc.record({ count: fc.nat() })),
        removeOnFail: fc.record(
          {
            age: fc.double({ min: 0, max: 1e9, noNaN: true }),
            count: fc.nat(),
            limit: fc.integer({ min: 1, max: 10_000 }),
          },
          { requiredKeys: ['age'] },
        ),
        keepLogs: fc.nat(),
        stackTraceLimit: fc.nat(),
        telemetry: fc.record({ metadata: wellFormed, omitContext: fc.boolean() }, { requiredKeys: [] }),
      },
      { requiredKeys: ['delay'] },
    );
    let number = 0;
    await fc.assert(
      fc.asyncProperty(options, async (given) => {
        const checked = checkJobOptions('add', given);
        const job = await queue.add('x', {}, { ...checked, jobId: `c${(number += 1)}` });
        const stored = await redis.hget(`bull:canonical:${job.id}`, 'opts');
        expect(canonicalJson(JSON.parse(stored ?? ''))).toBe(canonicalJson(storedOptions({ ...job.opts })));
      }),
      { numRuns: 150 },
    );
  });
});

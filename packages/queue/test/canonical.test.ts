import { Queue as RawQueue } from 'bullmq';
import { Redis } from 'ioredis';
import fc from 'fast-check';
import { freshRedis, type FreshRedis } from '@tenantkit/testing';
import { afterAll, beforeAll, describe, expect, inject, it } from 'vitest';
import { canonicalJson, storable } from '../src/canonical.ts';
import { checkJobOptions, storedOptions } from '../src/job-options.ts';

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

const wellFormed = fc.string({ unit: 'grapheme' });
const anyNumber = fc.oneof(
  fc.integer(),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
  fc.maxSafeInteger(),
  fc.constantFrom(
    -0,
    0,
    1e14,
    1e15,
    984_632_603_395_485,
    1 / 3,
    2 ** 53,
    1e21,
    1e-7,
    5e-324,
    Number.MAX_VALUE,
  ),
);
const number = anyNumber.map(storable);
const leaf = fc.oneof(wellFormed, number, fc.boolean());
const json = fc.letrec((tie) => ({
  value: fc.oneof({ maxDepth: 3, withCrossShrink: true }, leaf, tie('list'), tie('object')),
  list: fc.array(tie('value'), { maxLength: 4 }),
  object: fc.dictionary(
    wellFormed.filter((key) => key !== '__proto__'),
    tie('value'),
    { maxKeys: 5 },
  ),
}));

describe('canonical JSON', () => {
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
        removeOnComplete: fc.boolean(),
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

  it('takes numbers that cjson can keep, and no others', () => {
    fc.assert(
      fc.property(anyNumber, (value) => {
        const kept = storable(value);
        expect(storable(kept)).toBe(kept);
        expect(canonicalJson(kept)).toBe(String(kept));
        if (kept !== value && value !== 0) expect(() => canonicalJson(value)).toThrow(TypeError);
      }),
    );
    // Where cjson and JavaScript round differently: 548 and 549.
    expect(() => canonicalJson(984_632_603_395_485)).toThrow(TypeError);
    expect(checkJobOptions('add', { delay: 984_632_603_395_485 })).toEqual({ delay: 984_632_603_395_490 });
    expect(canonicalJson(-0)).toBe('0');
  });

  it('tells different options apart', () => {
    fc.assert(
      fc.property(json.object, json.object, (a, b) => {
        if (canonicalJson(a) !== canonicalJson(b)) return;
        expect(normalised(a)).toEqual(normalised(b));
      }),
    );
    expect(canonicalJson({ a: 1 })).not.toBe(canonicalJson({ a: '1' }));
    expect(canonicalJson({ a: { b: 1 } })).not.toBe(canonicalJson({ 'a.b': 1 }));
    // An own key of this name is a key like any other.
    expect(canonicalJson(JSON.parse('{"__proto__":{"attempts":9}}'))).toBe('{"__proto__":{"attempts":9}}');
  });

  it('refuses what could not be stored as it is', () => {
    for (const bad of [
      NaN,
      Infinity,
      undefined,
      null,
      1n,
      Symbol('x'),
      () => 1,
      'lone \ud800',
      { a: '\udfff' },
      { '\ud800': 1 },
    ]) {
      expect(() => canonicalJson(bad)).toThrow(TypeError);
    }
  });
});

function normalised(value: unknown): unknown {
  if (typeof value === 'number') return value + 0;
  if (Array.isArray(value)) return value.length === 0 ? {} : value.map(normalised);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, member]) => [key, normalised(member)]));
}

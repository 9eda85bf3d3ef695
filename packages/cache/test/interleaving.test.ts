import { withTenant } from '@tenantkit/core';
import type { Redis } from '@tenantkit/cache';
import fc from 'fast-check';
import { Redis as Raw } from 'ioredis';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openCache, type Opened } from './support.ts';

const OWNERS = ['acme', 'acme2', 'a'] as const;
const FORMS = ['method', 'call', 'pipeline', 'transaction', 'autopipeline'] as const;
type Owner = (typeof OWNERS)[number];
type Form = (typeof FORMS)[number];
interface Step {
  readonly owner: Owner;
  readonly form: Form;
  readonly command: readonly string[];
}

// One shared database through the guard; and, as the model, a database of its own for each tenant.
let shared: Opened;
let automatic: Redis;
const models = new Map<Owner, Opened>();

beforeAll(async () => {
  shared = await openCache();
  automatic = shared.guarded({ enableAutoPipelining: true });
  for (const owner of OWNERS) models.set(owner, await openCache());
});
afterAll(async () => {
  await shared[Symbol.asyncDispose]();
  for (const model of models.values()) await model[Symbol.asyncDispose]();
});

// Few names, so that steps meet; some look like physical names of the others.
const key = fc.constantFrom('k', 'k2', 'tk:acme:k', ':k', '');
const value = fc.constantFrom('1', '2', 'x', 'tk:acme2:k');
const words = (...parts: (string | fc.Arbitrary<string>)[]): fc.Arbitrary<readonly string[]> =>
  fc.tuple(...parts.map((part) => (typeof part === 'string' ? fc.constant(part) : part)));
const command = fc.oneof(
  words('set', key, value),
  words('get', key),
  words('incr', key),
  words('append', key, value),
  words('del', key, key),
  words('rename', key, key),
  words('mset', key, value, key, value),
  words('mget', key, key),
  words('lpush', key, value),
  words('lmove', key, key, 'LEFT', 'RIGHT'),
  words('lmpop', '2', key, key, 'LEFT'),
  words('sadd', key, value),
  words('sinterstore', key, key, key),
  words('sintercard', '2', key, key),
  words('zadd', key, '1', value),
  words('zunionstore', key, '2', key, key),
  words('zmpop', '2', key, key, 'MIN'),
  words('hset', key, 'f', value),
  words('hgetall', key),
  words('exists', key, key),
  words('type', key),
  words('copy', key, key, 'REPLACE'),
  words('keys-of-scan'),
  // Refused in the tenant, and asked of nobody in the model.
  words('swapdb', '0', '1'),
  words('zunion', '1e0', key),
);
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({ owner: fc.constantFrom(...OWNERS), form: fc.constantFrom(...FORMS), command }),
  { minLength: 1, maxLength: 40 },
);

it('every tenant sees a Redis of its own, whatever the others do at the same time', async () => {
  await fc.assert(
    fc.asyncProperty(steps, fc.boolean(), async (all, atOnce) => {
      await shared.raw.flushdb();
      for (const model of models.values()) await model.raw.flushdb();

      // The steps of one tenant in order; those of the others in between them, or at the same time.
      const replies = new Map<Owner, unknown[]>(OWNERS.map((owner) => [owner, []]));
      const take = async (owned: readonly Step[]): Promise<void> => {
        for (const step of owned)
          replies.get(step.owner)?.push(await withTenant(step.owner, () => guarded(step)));
      };
      if (atOnce) await Promise.all(OWNERS.map((owner) => take(all.filter((step) => step.owner === owner))));
      else await take(all);
      for (const owner of OWNERS) {
        const expected: unknown[] = [];
        for (const step of all.filter((step) => step.owner === owner)) expected.push(await modelled(step));
        expect(replies.get(owner)).toEqual(expected);
        expect(await contents(shared.raw, `tk:${owner}:`)).toEqual(await contents(modelOf(owner), ''));
      }
      const total = await Promise.all(OWNERS.map((owner) => modelOf(owner).dbsize()));
      expect(await shared.raw.dbsize()).toBe(total.reduce((sum, size) => sum + size, 0));
    }),
    { numRuns: 60 },
  );
}, 60_000);

function modelOf(owner: Owner): Raw {
  const model = models.get(owner);
  if (model === undefined) throw new TypeError(`no model of ${owner}`);
  return model.raw;
}

const REFUSED = 'refused';

async function guarded({ form, command }: Step): Promise<unknown> {
  return settled(command, async () => run(form === 'autopipeline' ? automatic : shared.redis, form, command));
}

async function modelled({ owner, form, command }: Step): Promise<unknown> {
  if (command[0] === 'swapdb' || command[1] === '1e0') return REFUSED;
  return settled(command, async () => run(modelOf(owner), form, command));
}

async function run(client: Raw, form: Form, [name = '', ...args]: readonly string[]): Promise<unknown> {
  if (name === 'keys-of-scan') return (await client.scan(0, 'COUNT', 1000))[1];
  if (form === 'method' || form === 'autopipeline') {
    const method: unknown = Reflect.get(client, name);
    if (typeof method === 'function') return method.apply(client, args);
  }
  if (form !== 'pipeline' && form !== 'transaction') return client.call(name.toUpperCase(), ...args);
  const batch = form === 'pipeline' ? client.pipeline() : client.multi();
  const [[error, reply] = []] = (await batch.call(name, ...args).exec()) ?? [];
  if (error) throw error;
  return reply;
}

async function settled(command: readonly string[], call: () => Promise<unknown>): Promise<unknown> {
  try {
    const reply: unknown = await call();
    return command[0] === 'keys-of-scan' ? [...(reply as string[])].sort() : reply;
  } catch (error) {
    const { code, message } = error as Error & { code?: string };
    return code === 'OPERATION_REFUSED' ? REFUSED : message;
  }
}

async function contents(raw: Raw, prefix: string): Promise<Record<string, unknown>> {
  const keys = await raw.keys(`${prefix}*`);
  const dumps = await Promise.all(keys.map((key) => raw.dumpBuffer(key)));
  const entries = keys.map(
    (key, index) => [key.slice(prefix.length), dumps[index]?.toString('base64')] as const,
  );
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

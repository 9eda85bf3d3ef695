import { Redis } from 'ioredis';
import {
  controlTenant,
  eraseRun,
  erasureScope,
  nameTemplate,
  OperationRefusedError,
  requireTenant,
  type ErasureScope,
  type Eraser,
} from '@tenantkit/core';
import { describe, expect, inject, it } from 'vitest';
import { adapterContract, freshRedis, type AdapterContract } from '@tenantkit/testing';

/** What a flawed adapter does otherwise than a sound one. */
interface Flaw {
  /** The physical name. */
  readonly encode?: (tenant: string, id: string) => string;
  /** Who the tenant is. */
  readonly tenant?: () => string;
  readonly answer?: (tenant: string, id: string) => unknown;
  readonly refuse?: boolean;
  readonly list?: (physical: string[]) => string[];
  readonly eraseMatch?: (tenant: string) => string;
  readonly eraseAgain?: number;
  readonly keepsGoing?: boolean;
  readonly planErases?: boolean;
  readonly verify?: 'blind' | 'litters' | 'no control';
  readonly subject?: 'silent';
  readonly scope?: 'any';
}

const names = nameTemplate('tk:{tenant}:', { surface: 'testing' });

/** A small adapter of strings in Redis. Sound, unless it is given a flaw. */
function contractWith(flaw: Flaw = {}): Omit<AdapterContract<Small>, 'runner'> {
  return {
    store: 'a small adapter',
    open: () => Small.open(flaw),
    write: (small, id, value) => small.set(id, value),
    read: (small, id) => small.get(id),
    list: (small) => small.keys(),
    remove: (small, id) => small.del(id),
    refused: [{ operation: 'flushall', call: (small) => small.flushall() }],
    dump: (small) => small.dump(),
    sent: (small) => small.sent,
    eraser: (small) => small.eraser(),
    auditor: (small) => ({ store: 'small', audit: () => small.audit() }),
    plant: (small) => small.raw.set('nobody:1', 'x'),
  };
}

adapterContract({ ...contractWith(), runner: { describe, it } });

describe('the contract finds the flaw', () => {
  const flaws: Record<string, [flaw: Flaw, found: RegExp]> = {
    'no prefix at all': [{ encode: (_, id) => id }, /does not exist for another/],
    'a prefix without an end': [{ encode: (tenant, id) => `tk:${tenant}${id}` }, /no logical name reaches/],
    'a prefix that ends with a character of an id': [
      { encode: (tenant, id) => `tk:${tenant}-${id}` },
      /no logical name reaches/,
    ],
    'a prefix that a name can leave': [
      { encode: (tenant, id) => new URL(id, `http://h/${tenant}/`).pathname },
      /no logical name reaches/,
    ],
    'a prefix that is not added twice': [
      { encode: (tenant, id) => (id.startsWith('tk:') ? id : names.encode(tenant, id)) },
      /no logical name reaches/,
    ],
    'ids in lower case': [
      { encode: (tenant, id) => names.encode(tenant.toLowerCase(), id) },
      /every tenant reads/,
    ],
    'a default tenant': [{ tenant: () => currentOr('default') }, /write without a tenant is refused/],
    'the tenant of whoever came last': [{ tenant: lastTenant() }, /several tenants at once/],
    'a reply with the physical name': [
      { answer: (tenant, id) => names.encode(tenant, id) },
      /no physical name/,
    ],
    'a listing of physical names': [{ list: (physical) => physical }, /a listing has the own ids/],
    'a refused operation that goes through': [{ refuse: false }, /flushall is refused/],
    'an erasure by the beginning of the id': [
      { eraseMatch: (tenant) => `tk:${tenant}*` },
      /erasing acme leaves/,
    ],
    'an erasure that always reports something': [{ eraseAgain: 1 }, /can be repeated/],
    'an erasure that cannot be interrupted': [{ keepsGoing: true }, /interrupted can be run again/],
    'a plan that erases': [{ planErases: true }, /changes nothing/],
    'a verification that sees nothing': [{ verify: 'blind' }, /sees what is left/],
    'a verification without a control': [{ verify: 'no control' }, /sees what is left/],
    'a control that stays': [{ verify: 'litters' }, /sees what is left/],
    'a person who is said to be erased': [{ subject: 'silent' }, /one person is erased/],
    'a person who was not found, taken for all': [{ scope: 'any' }, /not found is not the whole tenant/],
  };

  it.each(Object.entries(flaws))('%s', async (_, [flaw, found]) => {
    const failed = await failures(contractWith(flaw));
    expect(failed.join('\n')).toMatch(found);
  });

  it('and none in the sound one, with the same means', async () => {
    expect(await failures(contractWith())).toEqual([]);
  });
});

/** The names of the cases that fail. */
async function failures(contract: Omit<AdapterContract<Small>, 'runner'>): Promise<string[]> {
  const cases: [name: string, body: () => Promise<void>][] = [];
  adapterContract({
    ...contract,
    runner: { describe: (_, body) => body(), it: (name, body) => void cases.push([name, body]) },
  });
  expect(cases.length).toBeGreaterThan(15);
  const failed: string[] = [];
  for (const [name, body] of cases) await body().catch(() => failed.push(name));
  return failed;
}

function currentOr(tenant: string): string {
  try {
    return requireTenant().tenant;
  } catch {
    return tenant;
  }
}

function lastTenant(): () => string {
  let last: string | undefined;
  return () => {
    const before = last ?? requireTenant().tenant;
    last = requireTenant().tenant;
    return before;
  };
}

class Small implements AsyncDisposable {
  readonly raw: Redis;
  readonly #flaw: Flaw;
  readonly #cleanup: () => Promise<void>;
  sent = 0;

  static async open(flaw: Flaw): Promise<Small> {
    const { url, cleanup } = await freshRedis(inject('servers').redis);
    return new Small(new Redis(url), flaw, cleanup);
  }

  private constructor(raw: Redis, flaw: Flaw, cleanup: () => Promise<void>) {
    this.raw = raw;
    this.#flaw = flaw;
    this.#cleanup = cleanup;
  }

  async set(id: string, value: string): Promise<unknown> {
    const key = this.#key('set', id);
    this.sent += 1;
    const reply = await this.raw.set(key, value);
    return this.#flaw.answer?.(requireTenant().tenant, id) ?? reply;
  }

  async get(id: string): Promise<string | null> {
    const key = this.#key('get', id);
    this.sent += 1;
    return this.raw.get(key);
  }

  async del(id: string): Promise<number> {
    const key = this.#key('del', id);
    this.sent += 1;
    return this.raw.del(key);
  }

  async keys(): Promise<string[]> {
    const { tenant } = requireTenant({ operation: 'keys' });
    this.sent += 1;
    const physical = (await this.raw.keys('*')).filter((name) => names.owns(tenant, name));
    return this.#flaw.list?.(physical) ?? physical.map((name) => names.decode(tenant, name));
  }

  async flushall(): Promise<unknown> {
    requireTenant();
    if (this.#flaw.refuse === false) return this.raw.flushdb();
    throw new OperationRefusedError({
      surface: 'testing',
      operation: 'flushall',
      why: 'it is',
      instead: 'Do not.',
    });
  }

  async dump(): Promise<Record<string, string>> {
    const all: Record<string, string> = Object.create(null) as Record<string, string>;
    for (const name of await this.raw.keys('*')) all[name] = (await this.raw.get(name)) ?? '';
    return all;
  }

  eraser(): Eraser {
    const { eraseMatch, eraseAgain, keepsGoing, planErases, verify, subject, scope: taken } = this.#flaw;
    const count = async (tenant: string): Promise<string[]> =>
      this.raw.keys(eraseMatch?.(tenant) ?? `tk:${tenant}:*`);
    const wholeTenant = (operation: string, scope: ErasureScope): void => {
      if (taken !== 'any') erasureScope('testing', operation, scope);
      if (scope.subject !== undefined && subject !== 'silent') throw new Error('one person cannot be erased');
    };
    return {
      store: 'small',
      subjects: { unsupported: 'strings are about nobody' },
      plan: async (scope) => {
        wholeTenant('plan', scope);
        const found = await count(scope.tenant);
        if (planErases === true && found.length > 0) await this.raw.del(...found);
        return { store: 'small', items: [{ kind: 'keys', count: found.length }], kept: [] };
      },
      erase: async (scope, given) => {
        const run = eraseRun('testing', 'erase', given);
        wholeTenant('erase', scope);
        if (keepsGoing !== true) run.signal.throwIfAborted();
        const found = await count(scope.tenant);
        if (found.length > 0) await this.raw.del(...found);
        run.progress({ kind: 'keys', done: found.length });
        return {
          store: 'small',
          erased: [{ kind: 'keys', count: found.length + (eraseAgain ?? 0) }],
          kept: [],
        };
      },
      verify: async (scope) => {
        wholeTenant('verify', scope);
        const planted = names.encode(controlTenant(), 'control');
        await this.raw.set(planted, '1');
        const seen = verify === 'no control' ? [] : await this.raw.keys(planted);
        if (verify !== 'litters') await this.raw.del(planted);
        const left = verify === 'blind' ? [] : await count(scope.tenant);
        const control = { planted: 1, found: seen.length, method: 'a key under a throw-away tenant' };
        return { store: 'small', remaining: [{ kind: 'keys', count: left.length }], kept: [], control };
      },
    };
  }

  async *audit(): AsyncGenerator<{
    store: string;
    severity: 'high';
    code: string;
    message: string;
    hint: string;
  }> {
    for (const name of await this.raw.keys('*')) {
      if (names.tenantOf(name) === undefined) {
        yield {
          store: 'small',
          severity: 'high',
          code: 'foreign_key',
          message: 'a key of nobody',
          hint: 'Look.',
        };
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.raw.disconnect();
    await this.#cleanup();
  }

  #key(operation: string, id: string): string {
    const tenant = this.#flaw.tenant?.() ?? requireTenant({ operation }).tenant;
    return this.#flaw.encode?.(tenant, id) ?? names.encode(tenant, id);
  }
}

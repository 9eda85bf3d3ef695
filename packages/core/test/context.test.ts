import { AsyncLocalStorage } from 'node:async_hooks';
import { EventEmitter } from 'node:events';
import { setImmediate as tick } from 'node:timers/promises';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  acrossTenants,
  bindTenant,
  currentScope,
  currentTenant,
  forEachTenant,
  requireScope,
  requireTenant,
  runInScope,
  withTenant,
  withoutSubject,
  type TenantContext,
} from '../src/index.ts';

const WHERE = { surface: 'cache', operation: 'get' } as const;

/** Ids that are prefixes of one another, differ in case, or look like something else. */
const TENANTS = ['acme', 'acme2', 'a', 'a-b', 'ac', 'ACME', '__proto__', 'constructor', '-', '_', '0'];

describe('withTenant', () => {
  it.each(TENANTS)('runs inside %s and returns what the function returns', (tenant) => {
    expect(withTenant(tenant, () => requireTenant().tenant)).toBe(tenant);
  });

  it('has no tenant before and after', () => {
    expect(currentTenant()).toBeUndefined();
    withTenant('acme', () => undefined);
    expect(currentTenant()).toBeUndefined();
  });

  it('restores the outer context when the function throws', () => {
    withTenant({ tenant: 'acme', actor: 'outer' }, () => {
      expect(() =>
        withTenant({ tenant: 'acme', actor: 'inner' }, () => {
          throw new Error('inside');
        }),
      ).toThrow('inside');
      expect(currentTenant()).toEqual({ tenant: 'acme', actor: 'outer' });
    });
    expect(currentTenant()).toBeUndefined();
  });

  it('holds across awaits, timers, microtasks and rejected promises', async () => {
    await withTenant('acme', async () => {
      await tick();
      expect(requireTenant().tenant).toBe('acme');
      await Promise.reject(new Error('x')).catch(() => expect(requireTenant().tenant).toBe('acme'));
      await new Promise<void>((resolve) => {
        queueMicrotask(() => {
          expect(requireTenant().tenant).toBe('acme');
          resolve();
        });
      });
    });
    expect(currentTenant()).toBeUndefined();
  });

  it('keeps concurrent tenants apart', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.constantFrom(...TENANTS), { minLength: 2, maxLength: 20 }),
        async (tenants) => {
          const seen = await Promise.all(
            tenants.map((tenant) =>
              withTenant(tenant, async () => {
                await tick();
                const first = requireTenant().tenant;
                await tick();
                return [first, requireTenant().tenant];
              }),
            ),
          );
          expect(seen).toEqual(tenants.map((tenant) => [tenant, tenant]));
        },
      ),
      { numRuns: 50 },
    );
  });

  it('refuses to enter another tenant from inside one, and names neither', () => {
    withTenant('acme', () => {
      expect(withTenant('acme', () => requireTenant().tenant)).toBe('acme');
      const attempt = (): unknown => withTenant('globex', () => 'entered');
      expect(attempt).toThrow(expect.objectContaining({ code: 'TENANT_SWITCH' }));
      expect(attempt).toThrow(expect.objectContaining({ message: expect.not.stringMatching(/acme|globex/) }));
      expect(requireTenant().tenant).toBe('acme');
    });
  });

  it('keeps subject and actor when the same tenant is entered again without them', () => {
    withTenant({ tenant: 'acme', subject: 'p1', actor: 'api' }, () => {
      withTenant('acme', () =>
        expect(currentTenant()).toEqual({ tenant: 'acme', subject: 'p1', actor: 'api' }),
      );
      withTenant({ tenant: 'acme', subject: 'p2' }, () =>
        expect(currentTenant()).toEqual({ tenant: 'acme', subject: 'p2', actor: 'api' }),
      );
    });
  });

  it('hands out a frozen copy: changing the object that was passed in changes nothing', () => {
    const given = { tenant: 'acme' };
    withTenant(given, () => {
      given.tenant = 'globex';
      expect(requireTenant().tenant).toBe('acme');
      expect(Object.isFrozen(requireTenant())).toBe(true);
    });
  });

  it('reads a getter once: one that answers differently cannot pass the check with another id', () => {
    let reads = 0;
    const given: TenantContext = {
      get tenant() {
        reads += 1;
        return reads === 1 ? 'acme' : 'globex';
      },
    };
    expect(withTenant(given, () => requireTenant().tenant)).toBe('acme');
  });

  it.each([
    ['', 'empty'],
    ['a:b', 'index 1'],
    ['acme\n', 'index 4'],
    ['äcme', 'index 0'],
    ['a'.repeat(65), '65 characters'],
    ['acme*', 'index 4'],
    ['{acme}', 'index 0'],
    ['../acme', 'index 0'],
    ['acme\u202e', 'index 4'],
  ])('refuses the id %j and says where it is wrong, without repeating it', (id, where) => {
    const attempt = (): unknown => withTenant(id, () => 'entered');
    expect(attempt).toThrow(
      expect.objectContaining({ code: 'TENANT_INVALID', message: expect.stringContaining(where) }),
    );
    if (id !== '')
      expect(attempt).toThrow(expect.objectContaining({ message: expect.not.stringContaining(id) }));
  });

  it.each([
    undefined,
    null,
    'undefined',
    'null',
    7,
    {},
    [],
    { tenant: ['acme'] },
    { tenant: new URL('http://acme') },
  ])('refuses %j where an id is expected', (id) => {
    expect(() => withTenant(id as never, () => 'entered')).toThrow(
      expect.objectContaining({ code: 'TENANT_INVALID' }),
    );
  });

  it('leaves the person, and neither the tenant nor who acts', async () => {
    await withTenant({ tenant: 'acme', subject: 'p1', actor: 'api' }, async () => {
      const inside = withoutSubject(async () => {
        await Promise.resolve();
        return [requireTenant(), withTenant('acme', () => requireTenant())];
      });
      expect(requireTenant()).toEqual({ tenant: 'acme', subject: 'p1', actor: 'api' });
      const left = { tenant: 'acme', actor: 'api' };
      expect(await inside).toEqual([left, left]);
      expect(withoutSubject(() => withTenant({ tenant: 'acme', subject: 'p2' }, requireTenant))).toEqual({
        ...left,
        subject: 'p2',
      });
      expect(() => withoutSubject(() => withTenant('acme2', () => 'entered'))).toThrow(
        expect.objectContaining({ code: 'TENANT_SWITCH' }),
      );
    });
    expect(withTenant('acme', () => withoutSubject(requireTenant))).toEqual({ tenant: 'acme' });
    for (const outside of [
      () => withoutSubject(() => 'entered'),
      () => acrossTenants({ reason: 'r', actor: 'a' }, () => withoutSubject(() => 'entered')),
    ])
      expect(outside).toThrow(expect.objectContaining({ code: 'TENANT_MISSING' }));
  });

  it.each(['', 'a:b', 'x'.repeat(65)])('refuses the subject %j', (subject) => {
    expect(() => withTenant({ tenant: 'acme', subject }, () => 'entered')).toThrow(
      expect.objectContaining({ code: 'TENANT_INVALID', message: expect.stringContaining('subject') }),
    );
    expect(withTenant({ tenant: 'acme', subject: 'p1' }, () => requireTenant().subject)).toBe('p1');
  });

  it.each(['', 'x'.repeat(257)])('refuses an actor of %j', (actor) => {
    expect(() => withTenant({ tenant: 'acme', actor }, () => 'entered')).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }),
    );
  });
});

describe('requireTenant and requireScope', () => {
  it('throw outside of any tenant and say what to do', () => {
    for (const attempt of [() => requireTenant(WHERE), () => requireScope(WHERE)]) {
      expect(attempt).toThrow(
        expect.objectContaining({
          code: 'TENANT_MISSING',
          surface: 'cache',
          operation: 'get',
          hint: expect.stringContaining('withTenant'),
        }),
      );
    }
  });

  it('requireTenant throws inside acrossTenants, requireScope answers the bypass', () => {
    acrossTenants({ reason: 'report', actor: 'ops' }, () => {
      expect(() => requireTenant()).toThrow(expect.objectContaining({ code: 'TENANT_MISSING' }));
      expect(requireScope(WHERE)).toEqual({ tenant: undefined, bypass: { reason: 'report', actor: 'ops' } });
      expect(currentTenant()).toBeUndefined();
    });
  });
});

describe('acrossTenants', () => {
  it.each([
    { reason: '', actor: 'ops' },
    { reason: ' ', actor: 'ops' },
    { reason: 'r', actor: '' },
    {},
    undefined,
  ])('needs a reason and an actor: %j', (bypass) => {
    expect(() => acrossTenants(bypass as never, () => 'across')).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID' }),
    );
    expect(acrossTenants({ reason: 'r', actor: 'ops' }, () => 'across')).toBe('across');
  });

  it('lets another tenant be entered, which is confined again', () => {
    withTenant('acme', () =>
      acrossTenants({ reason: 'move', actor: 'ops' }, () => {
        withTenant('globex', () => {
          expect(currentScope()).toEqual({ tenant: { tenant: 'globex' }, bypass: undefined });
          expect(() => withTenant('acme', () => 'entered')).toThrow(
            expect.objectContaining({ code: 'TENANT_SWITCH' }),
          );
        });
      }),
    );
  });

  it('does not hand the subject of the outer tenant to the tenant entered inside', () => {
    withTenant({ tenant: 'acme', subject: 'p1', actor: 'api' }, () =>
      acrossTenants({ reason: 'move', actor: 'ops' }, () =>
        withTenant('globex', () => expect(currentTenant()).toEqual({ tenant: 'globex' })),
      ),
    );
  });
});

describe('forEachTenant', () => {
  it('runs each in its own context and answers in order', async () => {
    const result = await forEachTenant(
      TENANTS,
      async ({ tenant }) => {
        await tick();
        return [tenant, requireTenant().tenant];
      },
      { concurrency: 3 },
    );
    expect(result).toEqual(TENANTS.map((tenant) => [tenant, tenant]));
  });

  it('takes an async iterable and never runs more than `concurrency` at once', async () => {
    async function* source(): AsyncGenerator<string> {
      yield* TENANTS;
    }
    let running = 0;
    let most = 0;
    await forEachTenant(
      source(),
      async () => {
        running += 1;
        most = Math.max(most, running);
        await tick();
        running -= 1;
      },
      { concurrency: 4 },
    );
    expect(most).toBe(4);
  });

  it.each([1, 2, 4])('fails when the list of tenants breaks off, %i at once', async (concurrency) => {
    const broken = new Error('the list broke off');
    async function* source(): AsyncGenerator<string> {
      yield 'acme';
      // So that all that was begun has ended by then.
      for (let n = 0; n < 5; n += 1) await tick();
      throw broken;
    }
    const ran: string[] = [];
    const each = (fails = false) =>
      forEachTenant(
        source(),
        ({ tenant }) => {
          ran.push(tenant);
          if (fails) throw new Error('failed');
        },
        { concurrency },
      );
    await expect(each()).rejects.toBe(broken);
    expect(ran).toEqual(['acme']);
    await expect(each(true)).rejects.toMatchObject({
      message:
        'forEachTenant: it failed for 1 tenant (other errors), and the list of tenants broke off. Each error is in errors.',
      errors: [{ message: 'failed' }, broken],
    });
  });

  it('gives every tenant its turn and then throws all errors', async () => {
    const ran: string[] = [];
    const promise = forEachTenant(['a', 'b', 'c'], ({ tenant }) => {
      ran.push(tenant);
      if (tenant !== 'b') throw new Error(`failed in ${tenant}`);
    });
    await expect(promise).rejects.toThrow(AggregateError);
    // What one of them says may hold its data.
    await expect(promise).rejects.toThrow(
      /^forEachTenant: it failed for 2 tenants \(other errors\)\. Each error is/,
    );
    await expect(promise).rejects.toMatchObject({
      errors: [{ message: 'failed in a' }, { message: 'failed in c' }],
    });
    expect(ran).toEqual(['a', 'b', 'c']);
  });

  it('reports an invalid id among good ones', async () => {
    const ran: string[] = [];
    await expect(forEachTenant(['a', 'a:b', 'c'], ({ tenant }) => ran.push(tenant))).rejects.toMatchObject({
      message: 'forEachTenant: it failed for 1 tenant (TENANT_INVALID). Each error is in errors.',
      errors: [{ code: 'TENANT_INVALID' }],
    });
    expect(ran).toEqual(['a', 'c']);
  });

  it('is refused inside a tenant, except for that tenant', async () => {
    await withTenant('acme', async () => {
      await expect(forEachTenant(['acme2'], () => 'ran')).rejects.toMatchObject({
        errors: [{ code: 'TENANT_SWITCH' }],
      });
      await expect(forEachTenant(['acme'], () => 'ran')).resolves.toEqual(['ran']);
    });
  });

  it('stops before the next tenant when the signal is aborted', async () => {
    const stop = new AbortController();
    const ran: string[] = [];
    await expect(
      forEachTenant(
        ['a', 'b', 'c'],
        ({ tenant }) => {
          ran.push(tenant);
          stop.abort(new Error('stopped'));
        },
        { signal: stop.signal },
      ),
    ).rejects.toThrow('stopped');
    expect(ran).toEqual(['a']);
  });
});

describe('bindTenant and runInScope', () => {
  it('runs a listener in the tenant it was bound in, whoever emits', () => {
    const emitter = new EventEmitter();
    const seen: (string | undefined)[] = [];
    withTenant('acme', () =>
      emitter.on(
        'event',
        bindTenant(() => seen.push(currentTenant()?.tenant)),
      ),
    );
    emitter.on('event', () => seen.push(currentTenant()?.tenant));
    withTenant('globex', () => emitter.emit('event'));
    emitter.emit('event');
    expect(seen).toEqual(['acme', 'globex', 'acme', undefined]);
  });

  it('keeps arguments and result', () => {
    const add = withTenant('acme', () => bindTenant((a: number, b: number) => a + b));
    expect(add(2, 3)).toBe(5);
  });

  it('refuses to bind to no tenant', () => {
    expect(() => bindTenant(() => undefined)).toThrow(expect.objectContaining({ code: 'TENANT_MISSING' }));
  });

  it('runInScope(undefined) leaves the tenant, and a captured scope brings it back', () => {
    withTenant('acme', () => {
      const scope = currentScope();
      runInScope(undefined, () => {
        expect(currentScope()).toBeUndefined();
        expect(runInScope(scope, () => requireTenant().tenant)).toBe('acme');
      });
    });
  });
});

describe('the storage on globalThis', () => {
  it('cannot be replaced', () => {
    const key = Symbol.for('tenantkit.context');
    const host = globalThis as { [key]?: unknown };
    expect(host[key]).toBeInstanceOf(AsyncLocalStorage);
    expect(() => {
      host[key] = new AsyncLocalStorage();
    }).toThrow(TypeError);
    expect(Reflect.deleteProperty(globalThis, key)).toBe(false);
  });
});

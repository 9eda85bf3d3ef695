import { deepStrictEqual, equal, ok, rejects } from 'node:assert/strict';
import { isVerified, withTenant, type EraseRun, type Eraser, type InventoryItem } from '@tenantkit/core';
import { TENANTS } from '../tenants.ts';
import { keeps, sameDump } from './dump.ts';
import { IDS, valueOf } from './isolation.ts';
import type { AdapterContract, Case } from './types.ts';

/** Erasing one leaves all others byte for byte the same, and the recount is shown to see. */
export function eraseCases<Opened extends AsyncDisposable>(
  contract: AdapterContract<Opened>,
): Record<string, Case<Opened>> {
  const { write, read, dump, eraser, keeps: mayKeep = [] } = contract;
  if (eraser === undefined) return {};

  const fill = async (opened: Opened, tenants: readonly string[]): Promise<void> => {
    for (const tenant of tenants) {
      for (const id of IDS) await withTenant(tenant, () => write(opened, id, valueOf(tenant, id)));
    }
    // An empty dump is the same before and after everything.
    ok(Object.keys(await dump(opened)).length > 0, 'the dump shows nothing of what was written');
  };

  const cases: Record<string, Case<Opened>> = {
    async 'a plan counts what is there and changes nothing'(opened) {
      const { plan } = bound(eraser(opened));
      await fill(opened, TENANTS);
      const before = await dump(opened);
      for (const tenant of TENANTS)
        ok(total((await plan({ tenant })).items) > 0, `the plan for ${tenant} is empty`);
      equal(total((await plan({ tenant: 'nobody' })).items), 0, 'a tenant without data');
      sameDump(await dump(opened), before, 'the plan changed the store');
    },

    async 'an erasure can be repeated'(opened) {
      const { erase, verify } = bound(eraser(opened));
      await fill(opened, TENANTS);
      const scope = { tenant: TENANTS[0] };
      ok(total((await erase(scope, run())).erased) > 0, 'the first one erases');
      const after = await dump(opened);
      equal(total((await erase(scope, run())).erased), 0, 'the second one finds nothing');
      sameDump(await dump(opened), after, 'the second one changed the store');
      ok(isVerified(await verify(scope)), 'and it verifies');
    },

    async 'an erasure that is interrupted can be run again'(opened) {
      const { erase, verify } = bound(eraser(opened));
      const [victim, ...others] = TENANTS;
      await fill(opened, others);
      const before = await dump(opened);
      await fill(opened, [victim]);
      const reason = new Error('interrupted');
      const interrupted = { ...run(), signal: AbortSignal.abort(reason) };
      await rejects(async () => erase({ tenant: victim }, interrupted), reason);
      keeps(await dump(opened), before, 'the interrupted one changed what others wrote');
      // By hand, with nothing but what to erase.
      await erase({ tenant: victim });
      sameDump(await dump(opened), before, 'after the second run');
      ok(isVerified(await verify({ tenant: victim })), 'and it verifies');
    },

    async 'the verification sees what is left, and leaves nothing itself'(opened) {
      const { erase, verify } = bound(eraser(opened));
      await fill(opened, TENANTS);
      const scope = { tenant: TENANTS[0] };
      equal(isVerified(await verify(scope)), false, 'nothing was erased yet');
      await erase(scope, run());
      const before = await dump(opened);
      const clean = await verify(scope);
      ok(
        clean.control.planted > 0 && clean.control.found === clean.control.planted,
        'the positive control works',
      );
      ok(isVerified(clean), 'all was erased');
      sameDump(await dump(opened), before, 'the verification left something in the store');
      await withTenant(scope.tenant, () => write(opened, IDS[0], 'written again'));
      const again = await verify(scope);
      ok(total(again.remaining) > 0 && !isVerified(again), 'what is written again is seen');
    },

    async 'a person who was not found is not the whole tenant, nor is a scope of another shape'(opened) {
      const { plan, erase, verify } = bound(eraser(opened));
      await fill(opened, TENANTS);
      const before = await dump(opened);
      const [tenant] = TENANTS;
      for (const wrong of [
        { tenant, subject: undefined },
        { tenant, person: 'p1' },
        { tenant, subjects: ['p1'] },
        new Found(tenant),
      ]) {
        const scope = wrong as { tenant: string };
        await rejects(async () => plan(scope), { code: 'CONFIG_INVALID' });
        await rejects(async () => erase(scope, run()), { code: 'CONFIG_INVALID' });
        await rejects(async () => verify(scope), { code: 'CONFIG_INVALID' });
      }
      sameDump(await dump(opened), before, 'and nothing was erased');
      ok(total((await erase({ tenant }, run())).erased) > 0, 'the tenant alone is erased');
    },

    async 'one person is erased from one tenant, or the eraser says that it cannot'(opened) {
      const own = eraser(opened);
      const { erase, verify } = bound(own);
      const scope = { tenant: TENANTS[0], subject: 'p1' };
      if (own.subjects !== 'supported') {
        ok(own.subjects.unsupported.length > 0, 'it says why');
        await fill(opened, TENANTS);
        const before = await dump(opened);
        await rejects(async () => erase(scope, run()), 'it must not pass for done');
        return sameDump(await dump(opened), before, 'and nothing was erased');
      }
      const as = (tenant: string, subject: string | undefined, id: string): Promise<unknown> =>
        withTenant(subject === undefined ? { tenant } : { tenant, subject }, () =>
          write(opened, id, valueOf(tenant, id)),
        );
      // The same person id in another tenant, an id that begins with it, and data of nobody in particular.
      await as(TENANTS[1], 'p1', IDS[0]);
      await as(TENANTS[0], 'p10', IDS[1]);
      await as(TENANTS[0], undefined, IDS[2]);
      const before = await dump(opened);
      await as(TENANTS[0], 'p1', IDS[0]);
      await erase(scope, run());
      sameDump(await dump(opened), before, 'the erasure of one person');
      ok(isVerified(await verify(scope)), 'and it verifies');
      equal(await withTenant(TENANTS[1], () => read(opened, IDS[0])), valueOf(TENANTS[1], IDS[0]));
    },
  };

  for (const victim of TENANTS) {
    cases[`erasing ${victim} leaves all others byte for byte the same`] = async (opened) => {
      const { erase, verify } = bound(eraser(opened));
      const others = TENANTS.filter((tenant) => tenant !== victim);
      await fill(opened, others);
      const before = await dump(opened);
      await fill(opened, [victim]);
      const seen: unknown[] = [];
      const outcome = await erase({ tenant: victim }, { ...run(), progress: (step) => seen.push(step) });
      sameDump(await dump(opened), before, 'after the erasure');
      ok(total(outcome.erased) > 0, 'the outcome counts what was erased');
      deepStrictEqual(
        outcome.kept.filter(({ kind }) => !mayKeep.includes(kind)),
        [],
        'nothing was kept',
      );
      ok(seen.length > 0, 'progress was reported');
      ok(isVerified(await verify({ tenant: victim })), 'and it verifies');
      for (const other of others) {
        equal(
          await withTenant(other, () => read(opened, IDS[0])),
          valueOf(other, IDS[0]),
          `${other} still reads`,
        );
      }
    };
  }
  return cases;
}

type Bound = Pick<Eraser, 'plan' | 'erase' | 'verify'>;

function bound(own: Eraser): Bound {
  return { plan: own.plan.bind(own), erase: own.erase.bind(own), verify: own.verify.bind(own) };
}

function total(items: readonly InventoryItem[]): number {
  return items.reduce((sum, { count }) => sum + count, 0);
}

function run(): EraseRun {
  let saved: string | undefined;
  return {
    signal: new AbortController().signal,
    checkpoint: {
      load: () => Promise.resolve(saved),
      save: (state) => {
        saved = state;
        return Promise.resolve();
      },
    },
    progress: () => undefined,
  };
}

/** As an entity of an ORM: what it has are accessors of its class. */
class Found {
  readonly #tenant: string;

  constructor(tenant: string) {
    this.#tenant = tenant;
  }

  get tenant(): string {
    return this.#tenant;
  }

  get subject(): string | undefined {
    return undefined;
  }
}

import { deepStrictEqual, equal, notEqual, ok } from 'node:assert/strict';
import { withTenant } from '@tenantkit/core';
import { HOSTILE_TENANTS, TENANTS } from '../tenants.ts';
import { added, keeps, showsNone } from './dump.ts';
import type { AdapterContract, Case } from './types.ts';

/** The logical ids that every tenant owns. One is the beginning of another. */
export const IDS: readonly ['one', 'one2', 'two'] = ['one', 'one2', 'two'];

/** A tenant, and others whose ids are the beginning of its own or close to it. */
const NEIGHBOURS = [
  ['acme2', 'acme', 'a'],
  ['a-b', 'a', 'ac'],
] as const;

const ROUNDS = 5;

/** What one tenant stores under one id. */
export function valueOf(tenant: string, id: string): string {
  return `value of ${id} in ${tenant}`;
}

/** Own reads work, and nobody else's are reached. */
export function isolationCases<Opened extends AsyncDisposable>(
  contract: AdapterContract<Opened>,
): Record<string, Case<Opened>> {
  const { write, read, list, remove, dump } = contract;

  const fill = async (opened: Opened, tenants: readonly string[]): Promise<void> => {
    for (const tenant of tenants) {
      for (const id of IDS) await withTenant(tenant, () => write(opened, id, valueOf(tenant, id)));
    }
  };
  const readsOwn = async (opened: Opened, tenants: readonly string[]): Promise<void> => {
    for (const tenant of tenants) {
      for (const id of IDS) {
        equal(await withTenant(tenant, () => read(opened, id)), valueOf(tenant, id), `${tenant} reads ${id}`);
      }
    }
  };

  const cases: Record<string, Case<Opened>> = {
    async 'every tenant reads what it wrote, under ids that all of them use'(opened) {
      await fill(opened, HOSTILE_TENANTS);
      await readsOwn(opened, HOSTILE_TENANTS);
    },

    async 'what one tenant wrote does not exist for another'(opened) {
      const [writer, ...others] = TENANTS;
      await fill(opened, [writer]);
      for (const other of others) {
        for (const id of IDS)
          ok(isNothing(await withTenant(other, () => read(opened, id))), `${other} reads ${id}`);
      }
      await readsOwn(opened, [writer]);
    },

    async 'calls of several tenants at once do not mix'(opened) {
      await Promise.all(
        TENANTS.map((tenant) =>
          withTenant(tenant, async () => {
            for (let round = 0; round < ROUNDS; round += 1) {
              const value = `${tenant} ${round}`;
              await write(opened, `round-${round}`, value);
              equal(await read(opened, `round-${round}`), value, `${tenant} in round ${round}`);
            }
          }),
        ),
      );
    },

    async 'replies show no physical name'(opened) {
      const replies: unknown[] = [];
      for (const tenant of TENANTS) {
        await withTenant(tenant, async () => {
          for (const id of IDS) {
            replies.push(await write(opened, id, valueOf(tenant, id)), await read(opened, id));
          }
          if (list !== undefined) replies.push(await list(opened));
        });
      }
      const physical = Object.keys(await dump(opened));
      notEqual(physical.length, 0, 'the raw view sees what was written');
      if (remove !== undefined) replies.push(await withTenant(TENANTS[0], () => remove(opened, IDS[0])));
      for (const reply of replies) showsNone(reply, physical, IDS, 'a reply');
    },

    async 'no logical name reaches what another tenant wrote'(opened) {
      for (const [victim, ...others] of NEIGHBOURS) {
        const before = await dump(opened);
        await fill(opened, [victim]);
        const after = await dump(opened);
        const physical = added(before, after);
        notEqual(physical.length, 0, 'the raw view sees what was written');
        for (const other of others) {
          for (const name of [...physical, ...escapes(victim, other)]) {
            const answer = await withTenant(other, () => attempt(() => read(opened, name)));
            ok(
              !IDS.some((id) => answer === valueOf(victim, id)),
              `${other} read what ${victim} wrote, through the name ${name}`,
            );
            await withTenant(other, () => attempt(() => write(opened, name, 'overwritten')));
          }
        }
        keeps(await dump(opened), after, 'a name that one tenant chose changed what another wrote');
        await readsOwn(opened, [victim]);
      }
    },
  };

  if (list !== undefined) {
    cases['a listing has the own ids and no others'] = async (opened) => {
      const [empty, ...tenants] = TENANTS;
      await fill(opened, tenants);
      for (const tenant of tenants) {
        const listed: readonly string[] = await withTenant(tenant, () => list(opened));
        deepStrictEqual([...listed].sort(), [...IDS].sort(), `${tenant} lists`);
      }
      deepStrictEqual(
        [...(await withTenant(empty, () => list(opened)))],
        [],
        'a tenant without data lists nothing',
      );
    };
  }

  if (remove !== undefined) {
    cases['removing an id leaves the same id of all others'] = async (opened) => {
      const [remover, ...others] = TENANTS;
      await fill(opened, others);
      const before = await dump(opened);
      await fill(opened, [remover]);
      for (const id of IDS) {
        await withTenant(remover, () => remove(opened, id));
        ok(
          isNothing(await withTenant(remover, () => read(opened, id))),
          `${remover} reads ${id} after removing it`,
        );
      }
      keeps(await dump(opened), before, 'removing changed what others wrote');
      await readsOwn(opened, others);
    };
  }

  return cases;
}

/** Names by which careless code leaves its prefix. */
function escapes(victim: string, other: string): string[] {
  const [id] = IDS;
  const names = [
    `${victim}:${id}`,
    `${victim}/${id}`,
    `../${victim}/${id}`,
    `..%2f${victim}%2f${id}`,
    `tk:${victim}:${id}`,
    `tenants/${victim}/${id}`,
    `*${id}`,
    `{${victim}}${id}`,
  ];
  if (!victim.startsWith(other)) return names;
  // `acme` and `2one` are `acme2` and `one` where nothing ends the tenant; `a` and `b-one` are `a-b` and `one`
  // where a character of an id does.
  const rest = victim.slice(other.length);
  const joints = ['', '-', '_', ':', '/', '.'];
  return [...names, ...joints.flatMap((joint) => [`${rest}${joint}${id}`, `${rest.slice(1)}${joint}${id}`])];
}

function isNothing(answer: unknown): boolean {
  return answer === undefined || answer === null;
}

/** What a hostile name is answered with: nothing, the tenant's own value, or a refusal of whatever kind. */
async function attempt(call: () => Promise<unknown>): Promise<unknown> {
  try {
    return await call();
  } catch {
    // A refusal is a good answer; what counts is what the caller finds afterwards.
    return undefined;
  }
}

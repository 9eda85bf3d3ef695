import { equal, notEqual, ok } from 'node:assert/strict';
import { inspect } from 'node:util';
import { isTenantkitError, withTenant, type ErrorCode } from '@tenantkit/core';
import { INVALID_TENANTS, TENANTS } from '../tenants.ts';
import { sameDump } from './dump.ts';
import { IDS, valueOf } from './isolation.ts';
import type { AdapterContract, Case } from './types.ts';

/** What must not happen: the typed error comes, and nothing was sent. */
export function refusalCases<Opened extends AsyncDisposable>(
  contract: AdapterContract<Opened>,
): Record<string, Case<Opened>> {
  const { write, read, list, remove, refused, dump, sent } = contract;
  const [tenant] = TENANTS;
  const [id] = IDS;

  const calls: Record<string, (opened: Opened) => unknown> = {
    write: (opened) => write(opened, id, 'x'),
    read: (opened) => read(opened, id),
    ...(list === undefined ? {} : { list: (opened: Opened) => list(opened) }),
    ...(remove === undefined ? {} : { remove: (opened: Opened) => remove(opened, id) }),
  };
  // The recorder itself is shown to work: a count that never moves would prove nothing.
  const counts = async (opened: Opened): Promise<void> => {
    const before = await sent(opened);
    await withTenant(tenant, () => write(opened, id, valueOf(tenant, id)));
    notEqual(await sent(opened), before, 'the count of requests moves when a request is sent');
  };
  const refuses = async (
    opened: Opened,
    code: ErrorCode,
    what: string,
    call: () => unknown,
  ): Promise<void> => {
    const before = await sent(opened);
    const error = await rejection(call, what);
    ok(isTenantkitError(error), `${what} must throw an error of tenantkit, not ${inspect(error)}`);
    equal(error.code, code, what);
    equal(await sent(opened), before, `${what} was sent`);
  };
  const unchanged = async (opened: Opened, body: () => Promise<void>): Promise<void> => {
    await counts(opened);
    const before = await dump(opened);
    await body();
    sameDump(await dump(opened), before, 'what was refused changed the store');
  };

  const cases: Record<string, Case<Opened>> = {
    async 'an invalid tenant id is refused before anything is sent'(opened) {
      await unchanged(opened, async () => {
        for (const invalid of INVALID_TENANTS) {
          const what = `a write in the tenant ${inspect(invalid)}`;
          await refuses(opened, 'TENANT_INVALID', what, () =>
            withTenant(invalid as string, () => write(opened, id, 'x')),
          );
        }
      });
    },
  };
  for (const [name, call] of Object.entries(calls)) {
    cases[`${name} without a tenant is refused before anything is sent`] = async (opened) => {
      await unchanged(opened, () =>
        refuses(opened, 'TENANT_MISSING', `${name} without a tenant`, () => call(opened)),
      );
      // The same call on the same id, inside the tenant.
      await withTenant(tenant, () => call(opened));
    };
  }
  for (const { operation, call } of refused) {
    cases[`${operation} is refused before anything is sent`] = async (opened) => {
      await unchanged(opened, () =>
        refuses(opened, 'OPERATION_REFUSED', operation, () => withTenant(tenant, () => call(opened))),
      );
      equal(
        await withTenant(tenant, () => read(opened, id)),
        valueOf(tenant, id),
        'a read on the same client',
      );
    };
  }
  return cases;
}

async function rejection(call: () => unknown, what: string): Promise<unknown> {
  let answer: unknown;
  try {
    answer = await call();
  } catch (error) {
    return error;
  }
  throw new Error(`${what} was not refused, it answered ${inspect(answer)}`);
}

import { deepStrictEqual, notEqual } from 'node:assert/strict';
import { withTenant, type Auditor, type Finding } from '@tenantkit/core';
import { TENANTS } from '../tenants.ts';
import { sameDump } from './dump.ts';
import { IDS, valueOf } from './isolation.ts';
import type { AdapterContract, Case } from './types.ts';

/** The auditor finds nothing in a sound store, finds what is planted, and changes nothing. */
export function auditCases<Opened extends AsyncDisposable>(
  contract: AdapterContract<Opened>,
): Record<string, Case<Opened>> {
  const { write, dump, auditor, plant } = contract;
  if (auditor === undefined) return {};

  const cases: Record<string, Case<Opened>> = {
    async 'a store that only the adapter wrote to has no finding, and is not changed'(opened) {
      for (const tenant of TENANTS) {
        for (const id of IDS) await withTenant(tenant, () => write(opened, id, valueOf(tenant, id)));
      }
      const before = await dump(opened);
      deepStrictEqual(await findings(auditor(opened)), []);
      sameDump(await dump(opened), before, 'the audit changed the store');
    },
  };
  if (plant !== undefined) {
    cases['what was written past the adapter is found'] = async (opened) => {
      await withTenant(TENANTS[0], () => write(opened, IDS[0], valueOf(TENANTS[0], IDS[0])));
      deepStrictEqual(await findings(auditor(opened)), [], 'nothing before');
      await plant(opened);
      notEqual((await findings(auditor(opened))).length, 0, 'something afterwards');
    };
  }
  return cases;
}

/** What breaks isolation, or may: hints are no findings in this sense. */
async function findings(auditor: Auditor): Promise<Finding[]> {
  const found: Finding[] = [];
  for await (const finding of auditor.audit()) found.push(finding);
  return found.filter(({ severity }) => severity !== 'info' && severity !== 'low');
}

import type { TenantContext } from '@tenantkit/core';
import { insert } from '../flows/insert.ts';
import type { Lane } from '../lanes/lane.ts';
import { toList } from '../list.ts';
import { admitted, ownId, stillAdmitted, type Guard, type Handler } from './guard.ts';
import { sign, type Entry, type SignedEntry } from './sign.ts';

/** How jobs are added. */
export const adding = {
  async add(guard, tenant, operation, [job, jobId, parentKeyOpts]) {
    const entry = sign(guard.context, tenant, { job, jobId, parentKeyOpts } as Entry);
    const lane = await guard.store.registered(tenant.tenant);
    const since = await admitted(guard, tenant, operation);
    const [id] =
      entry.link === undefined
        ? [await lane.addJob(entry.job, entry.jobId)]
        : await addChildren(guard, tenant, lane, [entry]);
    await stillAdmitted(guard, tenant, operation, since, () => lane.remove(String(id), false));
    return ownId(guard, tenant, id);
  },
  // All are signed before the first is stored: one bad job of a hundred must not leave fifty behind.
  async addBulk(guard, tenant, operation, [entries]) {
    const signed = toList(entries, operation).map((entry) => sign(guard.context, tenant, entry as Entry));
    const lane = await guard.store.registered(tenant.tenant);
    const since = await admitted(guard, tenant, operation);
    const isLinked = signed.some(({ link }) => link !== undefined);
    const ids = isLinked ? await addChildren(guard, tenant, lane, signed) : await lane.addJobs([...signed]);
    await stillAdmitted(guard, tenant, operation, since, async () => {
      for (const id of ids) await lane.remove(id, false);
    });
    return ids.map((id) => ownId(guard, tenant, id));
  },
} satisfies Readonly<Record<string, Handler>>;

/** Adds jobs of which some have parents that are there already. */
async function addChildren(
  { context, store }: Guard,
  { tenant }: TenantContext,
  lane: Lane,
  signed: readonly SignedEntry[],
): Promise<readonly string[]> {
  const answers = await insert(
    lane,
    signed.map((entry) => ({ ...entry, context, tenant, isParent: false })),
  );
  store.touch(tenant);
  // A child that had completed before may have freed its new parent.
  // Only of what was added: a parent that is refused may be any name that a tenant makes up.
  for (const [at, { link }] of signed.entries())
    if (typeof answers[at] === 'string') store.touchParent(link?.parentKey);
  return answers.map((answer, at) => {
    if (typeof answer === 'string') return answer;
    const parentKey = signed[at]?.link?.parentKey;
    throw lane.finishedErrors({
      code: answer,
      ...(parentKey === undefined ? {} : { parentKey }),
      command: 'addJob',
    });
  });
}

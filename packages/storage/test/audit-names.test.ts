import { storageNames } from '@tenantkit/storage';
import { expect, it } from 'vitest';
import { Names } from '../src/audit-names.ts';
import type { Entry } from '../src/listing.ts';

const version = (key: string, current = false): Entry => ({
  kind: 'versions',
  key,
  versionId: 'v',
  bytes: 1,
  current,
});

const open = (): Names =>
  new Names({
    engine: { names: storageNames(), fence: undefined },
    known: [],
    isTenant: undefined,
    uploadsSince: new Date(0),
  });

it('a key whose versions go over the end of a page is told once', async () => {
  const names = open();
  const found = await names.page([version('a', true), version('b', true), version('b')]);
  found.push(...(await names.page([version('b'), version('b')])));
  found.push(...(await names.page([version('b'), version('c')])));
  const deleted = 'It is deleted, but earlier versions or a delete marker are there.';
  expect(found).toEqual([
    { code: 'outside_every_tenant', name: 'a', more: undefined },
    { code: 'outside_every_tenant', name: 'b', more: undefined },
    { code: 'outside_every_tenant', name: 'c', more: deleted },
  ]);
});

it('keys of a tenant many times over are counted, not kept', async () => {
  const names = open();
  for (let page = 0; page < 100; page += 1)
    expect(await names.page([version(`tenants/acme/tenants/acme/${page}`, true)])).toEqual([]);
  expect([...names.counts()]).toEqual([
    { code: 'doubled_prefix', name: 'tenants/acme/tenants/acme/', more: 'There are 100.' },
  ]);
});

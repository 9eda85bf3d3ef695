import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { withTenant } from '@tenantkit/core';
import { PutObjectCommand } from '@tenantkit/storage';
import { expect, it } from 'vitest';
import { open } from './open.ts';

setFlagsFromString('--allow-natives-syntax');
const isFast = runInNewContext('(object) => %HasFastProperties(object)') as (object: object) => boolean;

it('the configuration, of which the SDK makes several copies for each call, stays in the fast form', async () => {
  await using own = await open();
  const put = new PutObjectCommand({ Key: 'a', Body: 'x' });
  await withTenant('acme', () => own.s3.send(put));
  expect(isFast(own.s3.config)).toBe(true);
  // As long as this is so, there is a reason for it.
  expect(isFast(own.raw.config)).toBe(false);
});

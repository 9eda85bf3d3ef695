import { withTenant, type Finding } from '@tenantkit/core';
import { PutObjectCommand, S3Client, storageAuditor } from '@tenantkit/storage';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openPlaces, type Places } from './place-support.ts';

let places: Places;
beforeAll(async () => {
  places = await openPlaces();
});
afterAll(() => places[Symbol.asyncDispose]());

const audited = async (client: S3Client, bucket: string): Promise<Finding[]> => {
  const findings: Finding[] = [];
  for await (const finding of storageAuditor(client, { bucket }).audit()) findings.push(finding);
  return findings;
};
const elsewhere = (findings: readonly Finding[]): Finding[] =>
  findings.filter(({ code, message }) => code === 'not_examined' && message.includes('tenant.place'));

it('an audit says that it has not looked at the places of tenants, and how to', async () => {
  const { s3 } = places.client();
  await withTenant('a', () => s3.send(new PutObjectCommand({ Key: 'one', Body: 'x' })));
  await places.write(places.bucketOf('a'), 'outside', 'x');
  const findings = await audited(s3, places.bucket);
  expect(elsewhere(findings)).toHaveLength(1);
  expect(findings.map(({ code }) => code)).not.toContain('outside_every_tenant');

  // As it says.
  const placement = places.place('a');
  if (placement.level !== 'silo') throw new TypeError(placement.level);
  using silo = Object.assign(
    new S3Client({
      ...places.own.options,
      endpoint: placement.endpoint,
      tenant: { buckets: [places.bucketOf('a')] },
    }),
    {
      [Symbol.dispose]() {
        silo.destroy();
      },
    },
  );
  const found = await audited(silo, places.bucketOf('a'));
  expect(found).toContainEqual(expect.objectContaining({ code: 'outside_every_tenant', name: 'outside' }));
  expect(elsewhere(found)).toEqual([]);
});

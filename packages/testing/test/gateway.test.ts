import { PutObjectCommand, SelectObjectContentCommand } from '@aws-sdk/client-s3';
import { describe, expect, inject, it } from 'vitest';
import { freshBucket } from '../src/fixtures/bucket.ts';
import { acceptsPostForms, rawS3, soundGateway } from '../src/servers/s3-check.ts';

const connection = inject('servers').s3;

describe('the form that a gateway is tried with', () => {
  it('is accepted by a sound one, and refused when its signature is wrong', async () => {
    expect(await acceptsPostForms(connection)).toMatchObject({ accepted: true });
    // The bucket is made with the right keys: only the form is signed with others.
    const answer = await acceptsPostForms(connection, { ...connection, secretAccessKey: 'another' });
    expect(answer).toMatchObject({ accepted: false });
    expect(answer.answer).toMatch(/^403 /);
  });
});

describe('queries, and forms', () => {
  it('are answered by two gateways of one store: after a query of its own the first would refuse every form', async () => {
    const client = await rawS3(connection);
    const queries = await rawS3({ ...connection, endpoint: connection.queryEndpoint ?? connection.endpoint });
    await using own = await freshBucket(connection);
    const there = { Bucket: own.bucket, Key: 'a.csv' };
    await client.send(new PutObjectCommand({ ...there, Body: 'a,1\nb,2\n' }));
    const query = new SelectObjectContentCommand({
      ...there,
      Expression: 'select _1 from s3object where _2 > 1;',
      ExpressionType: 'SQL',
      InputSerialization: { CSV: {} },
      OutputSerialization: { CSV: {} },
    });
    const { Payload = [] } = await queries.send(query);
    const found: string[] = [];
    for await (const { Records } of Payload) found.push(Buffer.from(Records?.Payload ?? []).toString());
    expect(found.join('')).toContain('b');
    expect(await acceptsPostForms(connection)).toMatchObject({ accepted: true });
    client.destroy();
    queries.destroy();
  });
});

describe('a gateway that reads no form', () => {
  it.each([0, 1, 4])('is started again until it does: %i times', async (bad) => {
    const steps: string[] = [];
    await soundGateway(connection, {
      up: async () => void steps.push('up'),
      restart: async () => void steps.push('restart'),
      check: async () => ({
        accepted: steps.filter((step) => step === 'restart').length === bad,
        answer: '',
      }),
    });
    expect(steps).toEqual(['up', ...Array.from({ length: bad }, () => ['restart', 'up']).flat()]);
  });

  it('is given up in the end, with what it says', async () => {
    const never = soundGateway(connection, {
      up: () => Promise.resolve(),
      restart: () => Promise.resolve(),
      check: () => Promise.resolve({ accepted: false, answer: '400 Malformed JSON' }),
    });
    await expect(never).rejects.toThrow('400 Malformed JSON');
  });
});

import { ConfigError, SignatureError, currentTenant, withTenant } from '@tenantkit/core';
import { queueAuditor, type SigningKey } from '@tenantkit/queue';
import { Redis } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { PAIRS, SECRETS } from './header-support.ts';
import { bench, finished, type Bench } from './support.ts';

const [{ kid, privateKey, publicKey }, { publicKey: otherKey }] = PAIRS;
const PRODUCER: SigningKey = {
  kid,
  privateKey: privateKey.export({ format: 'pem', type: 'pkcs8' }).toString(),
};
const READER: SigningKey = { kid, publicKey: publicKey.export({ format: 'jwk' }) };

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

describe('a worker with public keys alone', () => {
  it('runs what the private key has signed, and makes nothing itself', async () => {
    const queue = on.queue('mail', { tenant: { signingKeys: [PRODUCER] } });
    await withTenant({ tenant: 'acme', subject: 'p1' }, () => queue.add('n', { n: 1 }, { jobId: 'one' }));
    const refused: unknown[] = [];
    const worker = on.worker(
      'mail',
      async (job) => {
        const forged = { name: 'n', data: '{}', opts: {}, timestamp: 1 } as never;
        refused.push(await worker.backend.addJob(forged, 'two').catch((error: unknown) => error));
        return [currentTenant(), job.data];
      },
      { tenant: { signingKeys: [READER] }, autorun: false },
    );
    const done = finished(worker, 1);
    void worker.run();
    expect(await done).toMatchObject([
      { event: 'completed', id: 'one', result: [{ tenant: 'acme', subject: 'p1' }, { n: 1 }] },
    ]);
    expect(refused).toEqual([expect.any(ConfigError)]);
    expect(await on.redis.keys('*~two')).toEqual([]);
    // The producer may read what it has added, and an auditor needs no more than the worker.
    expect((await withTenant('acme', () => queue.getJob('one')))?.data).toEqual({ n: 1 });
    const findings = [];
    const auditor = queueAuditor(on.redis, { queues: ['mail'], signingKeys: [READER] });
    for await (const { code } of auditor.audit(AbortSignal.timeout(60_000))) findings.push(code);
    expect(findings).toEqual([]);
  });

  it('refuses what another key pair, or a secret, has signed under the same name', async () => {
    const strangers: readonly SigningKey[] = [
      { ...PAIRS[1], kid, publicKey: undefined },
      { kid, secret: SECRETS[0].secret },
      // Everybody has it.
      { kid, secret: Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url') },
    ];
    for (const [n, stranger] of strangers.entries())
      await withTenant('acme', () =>
        on.queue('mail', { tenant: { signingKeys: [stranger] } }).add('n', {}, { jobId: `s${n}` }),
      );
    await withTenant('acme', () =>
      on.queue('mail', { tenant: { signingKeys: [PRODUCER] } }).add('n', {}, { jobId: 'genuine' }),
    );
    const worker = on.worker('mail', async () => 'ran', {
      tenant: { signingKeys: [READER] },
      autorun: false,
    });
    const done = finished(worker, 4);
    void worker.run();
    expect(await done).toMatchObject([
      { event: 'failed', error: { reason: 'mismatch' } },
      { event: 'failed', error: { reason: 'malformed' } },
      { event: 'failed', error: { reason: 'malformed' } },
      { event: 'completed', id: 'genuine' },
    ]);
  });

  it('is no Queue: one that could not sign is refused before it talks to anyone', async () => {
    const connection = new Redis(on.url, { maxRetriesPerRequest: null, lazyConnect: true });
    for (const signingKeys of [
      [READER],
      [READER, PRODUCER],
      [READER, { kid: 'mac', secret: SECRETS[0].secret }],
    ] as const) {
      const distinct = signingKeys.map((key, at) => ({ ...key, kid: `k${at}` }));
      expect(() => on.queue('mail', { connection, tenant: { signingKeys: distinct } })).toThrow(
        /^Invalid configuration of queue\.Queue: tenant\.signingKeys\.0 has a public key alone, and cannot sign\./,
      );
    }
    expect(connection.status).toBe('wait');
    connection.disconnect();
    // The private key first, and the public one of an older pair behind it: as one rotates.
    const rotating = on.queue('mail', {
      tenant: { signingKeys: [PRODUCER, { kid: 'older', publicKey: otherKey }] },
    });
    await withTenant('acme', () => rotating.add('n', {}, { jobId: 'one' }));
    await expect(
      withTenant('acme', () =>
        on
          .queue('mail', {
            tenant: {
              signingKeys: [PAIRS[1]].map((pair) => ({ kid: 'older', privateKey: pair.privateKey })),
            },
          })
          .getJob('one'),
      ),
    ).rejects.toThrow(SignatureError);
  });
});

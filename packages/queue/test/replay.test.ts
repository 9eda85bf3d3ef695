import { generateKeyPairSync } from 'node:crypto';
import { Redis } from 'ioredis';
import { acrossTenants, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { DelayedError, type Job, type Queue, type Worker } from '@tenantkit/queue';
import { HEADER, signHeader, verifyHeader, type JobClaims } from '../src/header.ts';
import { queueKeyRing } from '../src/keys.ts';
import { parseTenantOptions } from '../src/options.ts';
import { MAX_AGE } from '../src/replay.ts';
import { bindingOf, parseOptions } from '../src/verify.ts';
import { KEY, OPERATOR, bench, type Bench } from './support.ts';

let on: Bench;
beforeAll(async () => {
  on = await bench();
});
afterEach(() => on.reset());
afterAll(() => on[Symbol.asyncDispose]());

const LANE = 'bull:mail~acme:';
const DAY = 86_400_000;
const inside = <T>(fn: () => T): T => withTenant('acme', fn);

const { signingKeys } = parseTenantOptions({ signingKeys: [KEY] });
const ring = queueKeyRing(signingKeys, 'bull', 'mail');

const claimsOf = async (id: string): Promise<JobClaims> => {
  const hash = await on.redis.hgetall(LANE + id);
  const options = parseOptions(hash['opts']);
  return verifyHeader(
    ring,
    String(options[HEADER]),
    bindingOf(hash, options, { prefix: 'bull', queue: 'mail', id }),
  );
};

/** Signs a job as if it had been added that much earlier, with the key of the service. */
async function aged(id: string, by: number): Promise<void> {
  const claims = await claimsOf(id);
  const hash = await on.redis.hgetall(LANE + id);
  const options = parseOptions(hash['opts']);
  const binding = bindingOf(hash, options, { prefix: 'bull', queue: 'mail', id });
  const header = signHeader(ring, { ...claims, issuedAt: claims.issuedAt - by }, binding);
  await on.redis.hset(LANE + id, 'opts', JSON.stringify({ ...options, [HEADER]: header }));
}

/** Puts a job there as it was, in the way of somebody who can write to Redis and has read the code. */
async function putBack(id: string, hash: Readonly<Record<string, string>>): Promise<void> {
  await on.redis
    .multi()
    .del(LANE + id)
    .hset(LANE + id, hash)
    .zrem(`${LANE}completed`, id)
    .zrem(`${LANE}failed`, id)
    .lpush(`${LANE}wait`, id)
    .zadd('bull:mail~:ready', 'NX', 0, 'acme')
    .zadd('bull:mail~:wake', 0, '0')
    .exec();
}

/** What ended, in the order in which it did: `completed one`, or the reason why it was refused. */
function endings(worker: Worker): string[] {
  const seen: string[] = [];
  worker.on('completed', (job) => seen.push(`completed ${job.id}`));
  worker.on('failed', (job, error) =>
    seen.push(job === undefined ? `refused ${String(Reflect.get(error, 'reason'))}` : `failed ${job.id}`),
  );
  return seen;
}

async function job(queue: Queue, id: string): Promise<Job> {
  const found = await inside(() => queue.getJob(id));
  if (found === undefined) throw new Error(`${id} is not there`);
  return found;
}

describe('a job that has ended, and is put back as it was', () => {
  it('does not run again in the worker that has ended it, completed or failed; what is added anew does', async () => {
    const queue = on.queue('mail');
    const ran: string[] = [];
    const worker = on.worker('mail', async ({ id, name }) => {
      ran.push(id ?? '');
      if (name === 'bad') throw new Error('bad');
    });
    const seen = endings(worker);
    await worker.pause();
    const kept: [string, Record<string, string>][] = [];
    for (const [name, id] of [
      ['good', 'one'],
      ['bad', 'two'],
      ['good', 'gone'],
    ] as const) {
      await inside(() => queue.add(name, {}, { jobId: id, removeOnComplete: id === 'gone' }));
      kept.push([`acme~${id}`, await on.redis.hgetall(`${LANE}acme~${id}`)]);
    }
    await worker.resume();
    await expect.poll(() => seen).toEqual(['completed one', 'failed two', 'completed gone']);
    for (const [at, [id, hash]] of kept.entries()) {
      await putBack(id, hash);
      await expect.poll(() => seen.slice(3)).toHaveLength(at + 1);
    }
    expect(seen.slice(3)).toEqual(Array.from({ length: 3 }, () => 'refused replayed'));
    expect(ran).toEqual(['one', 'two', 'gone']);
    // Removed and added again, under the same id: another job.
    await inside(async () => (await queue.getJob('one'))?.remove());
    await inside(() => queue.add('good', {}, { jobId: 'one' }));
    await expect.poll(() => seen.at(-1)).toBe('completed one');
    expect(ran).toHaveLength(4);
  });

  it('is known by another header as well, that its data was signed with while it ran', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (own) => own.updateData({ n: 2 }));
    const seen = endings(worker);
    await inside(() => queue.add('n', { n: 1 }, { jobId: 'one' }));
    await expect.poll(() => seen).toEqual(['completed one']);
    const { finishedOn: _finishedOn, ...hash } = await on.redis.hgetall(`${LANE}acme~one`);
    expect(hash['data']).toBe('{"n":2}');
    await putBack('acme~one', hash);
    await expect.poll(() => seen).toEqual(['completed one', 'refused replayed']);
  });

  it('and that its processor has ended by hand, is no exception', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async (own, token = '') => {
      if (own.name === 'good') await own.moveToCompleted('by hand', token, false);
      else await own.moveToFailed(new Error('by hand'), token, false);
    });
    worker.on('error', () => undefined);
    const seen = endings(worker);
    for (const id of ['good', 'bad']) {
      await inside(() => queue.add(id, {}, { jobId: id, delay: 1 }));
      const hash = await on.redis.hgetall(`${LANE}acme~${id}`);
      const ended = `${LANE}${id === 'good' ? 'completed' : 'failed'}`;
      await expect.poll(() => on.redis.zscore(ended, `acme~${id}`)).not.toBeNull();
      await putBack(`acme~${id}`, hash);
      await expect
        .poll(() => seen.filter((end) => end === 'refused replayed').length)
        .toBe(id === 'good' ? 1 : 2);
    }
  });

  it('runs in another worker for as long as it could have waited, and not a moment longer', async () => {
    const queue = on.queue('mail');
    const ids = ['young', 'old'];
    for (const id of ids) await inside(() => queue.add('n', {}, { jobId: id }));
    await aged('acme~young', MAX_AGE - 60_000);
    await aged('acme~old', MAX_AGE + 60_000);
    const worker = on.worker('mail', async () => undefined);
    const seen = endings(worker);
    await expect.poll(() => seen.toSorted()).toEqual(['completed young', 'refused replayed']);
    expect((await job(queue, 'old')).failedReason).toMatch(/replayed|accepted/);
  });

  it('has as much time as the service says', async () => {
    const queue = on.queue('mail');
    for (const id of ['young', 'old']) await inside(() => queue.add('n', {}, { jobId: id }));
    await aged('acme~old', 10_000);
    const worker = on.worker('mail', async () => undefined, {
      tenant: { signingKeys: [KEY], maxAge: 9_000 },
    });
    const seen = endings(worker);
    await expect.poll(() => seen.toSorted()).toEqual(['completed young', 'refused replayed']);
    for (const maxAge of [0, -1, 1.5, '1', Infinity])
      expect(() => on.queue('mail', { tenant: { signingKeys: [KEY], maxAge: maxAge as number } })).toThrow(
        expect.objectContaining({ code: 'CONFIG_INVALID' }),
      );
  });

  it('is signed anew by who retries it, and keeps the time at which it was added', async () => {
    const queue = on.queue('mail');
    const ran: string[] = [];
    const worker = on.worker('mail', async ({ id, name }) => {
      ran.push(id ?? '');
      if (name === 'bad') throw new Error('bad');
    });
    const seen = endings(worker);
    const about = { tenant: 'acme', subject: 'ada', actor: 'bob' };
    await withTenant(about, () => queue.add('bad', { n: 1 }, { jobId: 'bad' }));
    await withTenant(about, () => queue.add('good', { n: 1 }, { jobId: 'good', lifo: true }));
    await expect.poll(() => seen.length).toBe(2);
    const [before, { timestamp }] = [await claimsOf('acme~bad'), await job(queue, 'bad')];
    const ways: readonly (() => Promise<unknown>)[] = [
      async () => inside(async () => (await job(queue, 'bad')).retry()),
      async () => inside(async () => (await job(queue, 'good')).retry('completed')),
      () => inside(() => queue.retryJobs()),
      () => inside(() => queue.retryJobs({ state: 'completed', count: 1 })),
      () => acrossTenants(OPERATOR, () => queue.retryJobs()),
      () =>
        acrossTenants(OPERATOR, async () => {
          const found = await queue.getJob('acme~bad');
          await found?.retry();
        }),
    ];
    for (const [at, again] of ways.entries()) {
      await again();
      await expect.poll(() => seen.length).toBe(3 + at);
    }
    expect(seen.filter((end) => end.startsWith('refused'))).toEqual([]);
    expect(ran).toHaveLength(8);
    const after = await claimsOf('acme~bad');
    expect(after).toEqual({ ...before, issuedAt: expect.any(Number) });
    expect(after.issuedAt).toBeGreaterThan(before.issuedAt);
    expect((await job(queue, 'bad')).timestamp).toBe(timestamp);
    // And one that was too old is young again.
    await worker.pause();
    await inside(() => queue.add('good', {}, { jobId: 'old' }));
    await aged('acme~old', MAX_AGE + 1);
    await worker.resume();
    await expect.poll(() => seen.at(-1)).toBe('refused replayed');
    await inside(async () => (await job(queue, 'old')).retry());
    await expect.poll(() => seen.at(-1)).toBe('completed old');
  });

  it('is not signed by a retry when it does not verify, or is not where it is looked for', async () => {
    const queue = on.queue('mail');
    const worker = on.worker('mail', async () => {
      throw new Error('bad');
    });
    const seen = endings(worker);
    for (const id of ['genuine', 'altered']) await inside(() => queue.add('n', {}, { jobId: id }));
    await expect.poll(() => seen.length).toBe(2);
    await worker.pause();
    await on.redis.hset(`${LANE}acme~altered`, 'data', '{"forged":true}');
    const header = async (id: string): Promise<string | null> => on.redis.hget(LANE + id, 'opts');
    const [altered, genuine] = [await header('acme~altered'), await header('acme~genuine')];
    await expect(inside(async () => (await job(queue, 'genuine')).retry('completed'))).rejects.toThrow(
      /not in the completed state/,
    );
    expect(await header('acme~genuine')).toBe(genuine);
    await inside(() => queue.retryJobs());
    expect(await header('acme~altered')).toBe(altered);
    expect(await header('acme~genuine')).not.toBe(genuine);
    await worker.resume();
    await expect.poll(() => seen.slice(2).toSorted()).toEqual(['failed genuine', 'refused mismatch']);
  });

  it('is signed once more when its data is replaced between', async () => {
    class Meanwhile extends Redis {
      act: (() => Promise<unknown>) | undefined;
      override sendCommand(...args: Parameters<Redis['sendCommand']>): unknown {
        const { act } = this;
        const sent = super.sendCommand(...args);
        if (args[0].name !== 'hgetall' || act === undefined) return sent;
        this.act = undefined;
        return (async () => {
          const answer: unknown = await sent;
          await act();
          return answer;
        })();
      }
    }
    const redis = new Meanwhile(on.url, { maxRetriesPerRequest: null });
    const [queue, other] = [on.queue('mail'), on.queue('mail', { connection: redis })];
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (own) => ran.push(own.data));
    const seen = endings(worker);
    await inside(() => queue.add('n', 1, { jobId: 'one' }));
    await expect.poll(() => seen).toEqual(['completed one']);
    await worker.pause();
    for (const retry of ['one', 'all'] as const) {
      const own = await inside(() => other.getJob('one'));
      redis.act = () => inside(async () => (await job(queue, 'one')).updateData(retry));
      await inside(() =>
        retry === 'one' ? own?.retry('completed') : other.retryJobs({ state: 'completed' }),
      );
      expect(redis.act).toBeUndefined();
      await worker.resume();
      await expect.poll(() => ran.at(-1)).toBe(retry);
      await expect.poll(() => seen.length).toBe(ran.length);
      await worker.pause();
    }
    expect(seen.filter((end) => end.startsWith('refused'))).toEqual([]);
    await other.close();
    redis.disconnect();
  });

  it('can be retried by the thousand: what fails meanwhile is left to the next call', async () => {
    const queue = on.queue('mail');
    const many = Array.from({ length: 250 }, (_, n) => `job${n}`);
    await inside(() => queue.addBulk(many.map((id) => ({ name: 'n', data: {}, opts: { jobId: id } }))));
    let isGood = false;
    const worker = on.worker(
      'mail',
      async () => {
        if (!isGood) throw new Error('bad');
      },
      { concurrency: 20 },
    );
    const seen = endings(worker);
    await expect.poll(() => seen.length, { timeout: 10_000 }).toBe(many.length);
    isGood = true;
    await inside(() => queue.retryJobs({ count: 100 }));
    await expect.poll(() => seen.length, { timeout: 10_000 }).toBe(2 * many.length);
    expect(new Set(seen.slice(many.length)).size).toBe(many.length);
    expect(seen.slice(many.length).filter((end) => !end.startsWith('completed'))).toEqual([]);
  });
});

describe('what runs more than once, or late, by right', () => {
  it('a job that is tried again, at once and later, and one whose worker has lost it', async () => {
    const queue = on.queue('mail');
    const ran: string[] = [];
    const worker = on.worker(
      'mail',
      async (own) => {
        ran.push(own.id ?? '');
        if (own.attemptsMade < 2 && own.name === 'bad') throw new Error('not yet');
        if (own.name === 'stalls' && ran.filter((id) => id === own.id).length === 1) {
          // As if the process had died: nobody holds the job any more.
          await on.redis.del(`${LANE}acme~${own.id}:lock`);
          await new Promise((resolve) => setTimeout(resolve, 1_500));
        }
      },
      { concurrency: 4, stalledInterval: 300, lockDuration: 60_000 },
    );
    worker.on('error', () => undefined);
    const seen = endings(worker);
    await inside(() => queue.add('bad', {}, { jobId: 'now', attempts: 3 }));
    await inside(() => queue.add('bad', {}, { jobId: 'later', attempts: 3, backoff: 10 }));
    await inside(() => queue.add('stalls', {}, { jobId: 'stalls' }));
    await expect
      .poll(() => [...new Set(seen)].filter((end) => end.startsWith('completed')).toSorted(), {
        timeout: 15_000,
      })
      .toEqual(['completed later', 'completed now', 'completed stalls']);
    expect(seen.filter((end) => end.startsWith('refused'))).toEqual([]);
    expect(ran.filter((id) => id === 'stalls').length).toBeGreaterThan(1);
  });

  it('a job that was put off, by its options, by its tenant and by its processor, for however long', async () => {
    const queue = on.queue('mail');
    await inside(() => queue.add('n', {}, { jobId: 'delayed', delay: 90 * DAY }));
    await inside(() => queue.add('n', {}, { jobId: 'changed', delay: 1_000 }));
    await inside(() => queue.add('n', {}, { jobId: 'moved' }));
    const [before, timestamp] = [await claimsOf('acme~changed'), (await job(queue, 'changed')).timestamp];
    await inside(async () => (await job(queue, 'changed')).changeDelay(2_000));
    // Nothing to sign: it is accepted then.
    expect(await claimsOf('acme~changed')).toEqual(before);
    await inside(async () => (await job(queue, 'changed')).changeDelay(90 * DAY));
    expect((await job(queue, 'changed')).timestamp).toBe(timestamp);
    let isMoved = false;
    const worker = on.worker('mail', async (own, token) => {
      if (own.id !== 'moved' || isMoved) return;
      isMoved = true;
      await own.moveToDelayed(Date.now() + 90 * DAY, token);
      throw new DelayedError();
    });
    const seen = endings(worker);
    await expect.poll(() => on.redis.zscore(`${LANE}delayed`, 'acme~moved')).not.toBeNull();
    // Time passes: each was signed so much earlier, and waits no longer.
    for (const id of ['delayed', 'changed', 'moved']) {
      await aged(`acme~${id}`, 91 * DAY);
      await inside(async () => (await job(queue, id)).promote());
    }
    await expect
      .poll(() => seen.toSorted())
      .toEqual(['completed changed', 'completed delayed', 'completed moved']);
  });

  it('what a deduplicated job keeps for later', async () => {
    const queue = on.queue('mail');
    let end = (): void => undefined;
    const worker = on.worker('mail', () => new Promise<void>((resolve) => (end = resolve)));
    const seen = endings(worker);
    const add = (jobId: string): Promise<unknown> =>
      inside(() => queue.add('n', {}, { jobId, deduplication: { id: 'd', keepLastIfActive: true } }));
    await add('first');
    await expect.poll(() => on.redis.llen(`${LANE}active`)).toBe(1);
    await add('next');
    end();
    await expect.poll(() => seen).toEqual(['completed first']);
    await expect.poll(() => on.redis.llen(`${LANE}active`)).toBe(1);
    end();
    await expect.poll(() => seen).toEqual(['completed first', 'completed next']);
  });

  it('each job of a scheduler, however old its template is; but not the same one twice', async () => {
    const queue = on.queue('mail');
    await inside(() => queue.upsertJobScheduler('s', { every: 200 }, { name: 'n' }));
    const old = async (key: string): Promise<void> => {
      const hash = await on.redis.hgetall(key);
      const options = parseOptions(hash['opts']);
      const id = key.slice(LANE.length);
      const binding = bindingOf(hash, options, { prefix: 'bull', queue: 'mail', id });
      const claims = verifyHeader(ring, String(options[HEADER]), binding);
      const header = signHeader(ring, { ...claims, issuedAt: claims.issuedAt - 400 * DAY }, binding);
      await on.redis.hset(key, 'opts', JSON.stringify({ ...options, [HEADER]: header }));
      if (id.startsWith('repeat:s:')) {
        const template = await on.redis.hget(`${LANE}repeat:s`, 'opts');
        const changed = JSON.stringify({ ...parseOptions(template ?? ''), [HEADER]: header });
        await on.redis.hset(`${LANE}repeat:s`, 'opts', changed);
      }
    };
    const [first = ''] = await on.redis.keys(`${LANE}repeat:s:*`);
    await old(first);
    const kept = await on.redis.hgetall(first);
    const worker = on.worker('mail', async () => undefined);
    const seen = endings(worker);
    await expect.poll(() => seen.length).toBeGreaterThan(2);
    expect(seen.every((end) => end.startsWith('completed repeat:s:'))).toBe(true);
    await inside(() => queue.removeJobScheduler('s'));
    await putBack(first.slice(LANE.length), kept);
    await expect.poll(() => seen.at(-1)).toBe('refused replayed');
  });

  it('runs where nobody can sign, and is not retried there', async () => {
    const { privateKey, publicKey } = generateKeyPairSync('ed25519');
    const queue = on.queue('mail', { tenant: { signingKeys: [{ kid: 'pair', privateKey }] } });
    const errors: unknown[] = [];
    const worker = on.worker(
      'mail',
      async (own, token) => {
        if (own.id === 'far') {
          await own.moveToDelayed(Date.now() + 90 * DAY, token).catch((error: unknown) => errors.push(error));
        }
        if (own.id === 'near' && own.attemptsStarted === 1) {
          await own.moveToDelayed(Date.now() + 20 * DAY, token);
          throw new DelayedError();
        }
      },
      { tenant: { signingKeys: [{ kid: 'pair', publicKey }] } },
    );
    const seen = endings(worker);
    for (const id of ['far', 'near']) await inside(() => queue.add('n', {}, { jobId: id }));
    await expect.poll(() => seen).toEqual(['completed far']);
    expect(errors).toMatchObject([{ code: 'CONFIG_INVALID' }]);
    await expect.poll(() => on.redis.zscore(`${LANE}delayed`, 'acme~near')).not.toBeNull();
    await inside(async () => (await job(queue, 'near')).promote());
    await expect.poll(() => seen).toEqual(['completed far', 'completed near']);
  });
});

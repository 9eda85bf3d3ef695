import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createBullBoard } from '@bull-board/api';
import { BullMQAdapter } from '@bull-board/api/bullMQAdapter';
import { appRoutes } from '@bull-board/api/dist/routes.js';
import { ExpressAdapter } from '@bull-board/express';
import { acrossTenants, currentTenant, withTenant } from '@tenantkit/core';
import express from 'express';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Queue } from '@tenantkit/queue';
import { OPERATOR, bench, finished, type Bench } from './support.ts';

// A dashboard over HTTP, as services have it: a middleware says in whose scope a request is, and the rest is bull-board's.
// `acme` and `acme2` have jobs of the same ids in the same states.

const MINUTE = 60_000;
/** Who is let in as an operator. */
const EVERYBODY = '*';

let on: Bench;
let queue: Queue;
let server: Server;
beforeAll(async () => {
  on = await bench();
});
beforeEach(async () => {
  queue = await filled();
  server = board(queue);
  await once(server, 'listening');
});
afterEach(async () => {
  server.close();
  server.closeAllConnections();
  await once(server, 'close');
  await on.reset();
});
afterAll(() => on[Symbol.asyncDispose]());

function board(shown: Queue): Server {
  const serverAdapter = new ExpressAdapter();
  serverAdapter.setBasePath('/ui');
  createBullBoard({
    queues: [new BullMQAdapter(shown)],
    serverAdapter,
    options: { validateResponses: true },
  });
  const app = express();
  app.use('/ui', (request, _response, next) => {
    const tenant = request.get('x-tenant') ?? '';
    if (tenant === EVERYBODY) acrossTenants({ reason: 'dashboard', actor: 'ops' }, next);
    else withTenant(tenant, next);
  });
  app.use('/ui', serverAdapter.getRouter());
  return app.listen(0, '127.0.0.1');
}

/** Jobs of both tenants: `completed`, `failed`, `waiting`, `delayed`, and a scheduler with its next job. */
async function filled(): Promise<Queue> {
  const made = on.queue('mail');
  const worker = on.worker(
    'mail',
    async (job) => {
      await job.log(`a row of ${currentTenant()?.tenant}`);
      if (job.id === 'failed') throw new Error('no');
      return { of: currentTenant()?.tenant };
    },
    { metrics: { maxDataPoints: 10 } },
  );
  const done = finished(worker, 4);
  for (const tenant of ['acme', 'acme2']) {
    await withTenant(tenant, () =>
      made.addBulk(
        ['completed', 'failed'].map((jobId) => ({ name: 'n', data: { tenant }, opts: { jobId } })),
      ),
    );
  }
  await done;
  await worker.close();
  for (const tenant of ['acme', 'acme2']) {
    await withTenant(tenant, async () => {
      await made.add('n', { tenant }, { jobId: 'waiting' });
      await made.add('n', { tenant }, { jobId: 'delayed', delay: MINUTE });
      const later = Date.now() + 60 * MINUTE;
      await made.upsertJobScheduler(
        'nightly',
        { every: 60 * MINUTE, startDate: later },
        { name: 'night', data: { tenant } },
      );
    });
  }
  return made;
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly body: unknown;
}

async function ask(tenant: string, method: string, path: string, body?: unknown): Promise<Answer> {
  const { port } = server.address() as AddressInfo;
  const response = await fetch(`http://127.0.0.1:${port}/ui${path}`, {
    method,
    headers: { 'x-tenant': tenant, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  const isJson = response.headers.get('content-type')?.includes('json') === true && text !== '';
  return { status: response.status, text, body: isJson ? (JSON.parse(text) as unknown) : undefined };
}

/** Everything that the server has about a tenant, byte for byte. */
async function stored(tenant: string): Promise<Record<string, string>> {
  const found: Record<string, string> = {};
  const keys = (await on.redis.keys('*')).filter((key) => key.startsWith(`bull:mail~${tenant}:`));
  for (const key of keys.toSorted()) found[key] = (await on.redis.dumpBuffer(key))?.toString('base64') ?? '';
  return found;
}

/** What a request of the board answers, and what it has done; both inside the tenant that asks. */
interface Row {
  readonly path: string;
  readonly body?: () => unknown;
  readonly status?: number;
  readonly answers?: (body: unknown, tenant: string) => void;
  readonly does?: () => Promise<void>;
  /** Words of a refusal. */
  readonly refused?: RegExp;
  /** What has to be done before. */
  readonly before?: () => Promise<void>;
  /** What a tenant without jobs gets where it is no 404. */
  readonly toNobody?: unknown;
}

const LIMITS = /setTenantLimits/;
const pending = async (): Promise<string> =>
  (await queue.getJobScheduler('nightly'))?.template?.data as string;
const counts = () => queue.getJobCounts('waiting', 'completed', 'failed', 'delayed', 'prioritized');
const COUNTS = { waiting: 1, completed: 1, failed: 1, delayed: 2, prioritized: 0 };
const stateOf = (id: string) => queue.getJobState(id);

/** Every route of the board. */
const ROUTES: Readonly<Record<string, Row>> = {
  // The service's own server: an option of the board hides it.
  'get /api/redis/stats': { path: '/api/redis/stats', refused: /past the guard/ },
  'get /api/queues': {
    path: '/api/queues?activeQueue=mail&status=latest&page=1&jobsPerPage=10',
    answers: (body, tenant) => {
      const [shown] = (body as { queues: [{ jobs: { id: string; data: unknown; opts: unknown }[] }] }).queues;
      expect(shown).toMatchObject({
        name: 'mail',
        counts: { ...COUNTS, active: 0, 'waiting-children': 0 },
        isPaused: false,
        globalConcurrency: null,
        jobSchedulerCount: 1,
      });
      const names = shown.jobs.map(({ id }) => id.replace(/\d{13}$/, '')).toSorted();
      expect(names).toEqual(['completed', 'delayed', 'failed', 'repeat:nightly:', 'waiting']);
      for (const { data } of shown.jobs) expect(data).toEqual({ tenant });
    },
  },
  'get /api/job-schedulers': {
    path: '/api/job-schedulers',
    answers: (body, tenant) =>
      expect(body).toMatchObject({
        schedulers: [{ id: 'nightly', name: 'night', template: { data: { tenant } } }],
      }),
  },
  'get /api/queues/:queueName/metrics': {
    path: '/api/queues/mail/metrics',
    answers: (body) =>
      expect(body).toMatchObject({ completed: { meta: { count: 1 } }, failed: { meta: { count: 1 } } }),
  },
  'get /api/queues/:queueName/default-job-options': {
    path: '/api/queues/mail/default-job-options',
    answers: (body) => expect(body).toEqual({}),
  },
  'get /api/queues/:queueName/workers': {
    path: '/api/queues/mail/workers',
    // "Could not ask", as bull-board has it.
    answers: (body) => expect(body).toEqual({ workers: null }),
  },
  'get /api/queues/:queueName/rate-limit': {
    path: '/api/queues/mail/rate-limit',
    answers: (body) => expect(body).toEqual({ supported: true, rateLimit: null }),
  },
  'get /api/queues/:queueName/job-data-schema': { path: '/api/queues/mail/job-data-schema' },
  'put /api/queues/pause': {
    path: '/api/queues/pause',
    does: async () => expect(await queue.isPaused()).toBe(true),
  },
  'put /api/queues/resume': {
    path: '/api/queues/resume',
    before: () => queue.pause(),
    does: async () => expect(await queue.isPaused()).toBe(false),
  },
  'get /api/queues/:queueName/:jobId/logs': {
    path: '/api/queues/mail/completed/logs',
    answers: (body, tenant) => expect(body).toEqual([`a row of ${tenant}`]),
    toNobody: [],
  },
  'get /api/queues/:queueName/:jobId/flow': {
    path: '/api/queues/mail/completed/flow',
    answers: (body) => expect(body).toMatchObject({ nodeId: 'completed', isFlowNode: false }),
  },
  'get /api/queues/:queueName/:jobId': {
    path: '/api/queues/mail/completed',
    answers: (body, tenant) =>
      expect(body).toMatchObject({
        job: { id: 'completed', data: { tenant }, returnValue: { of: tenant }, opts: { jobId: 'completed' } },
        status: 'completed',
      }),
  },
  'post /api/queues/:queueName/add': {
    path: '/api/queues/mail/add',
    body: () => ({ name: 'added', data: { by: 'hand' }, options: { jobId: 'added', priority: 3 } }),
    answers: (body) =>
      expect(body).toMatchObject({ job: { id: 'added', data: { by: 'hand' } }, status: 'prioritized' }),
    does: async () => expect((await queue.getJob('added'))?.data).toEqual({ by: 'hand' }),
  },
  'put /api/queues/:queueName/retry/:queueStatus': {
    path: '/api/queues/mail/retry/failed',
    answers: (body) => expect(body).toEqual({ retried: 1, skipped: 0 }),
    does: async () => expect(await counts()).toEqual({ ...COUNTS, waiting: 2, failed: 0 }),
  },
  'put /api/queues/:queueName/promote': {
    path: '/api/queues/mail/promote',
    does: async () => expect(await counts()).toEqual({ ...COUNTS, waiting: 3, delayed: 0 }),
  },
  'put /api/queues/:queueName/clean/:queueStatus': {
    // The board leaves what is younger than five seconds.
    path: '/api/queues/mail/clean/completed',
    before: async () => {
      const { tenant } = currentTenant() ?? { tenant: '' };
      await on.redis.zadd(`bull:mail~${tenant}:completed`, 1, `${tenant}~completed`);
      await on.redis.hset(`bull:mail~${tenant}:${tenant}~completed`, 'finishedOn', 1);
    },
    does: async () => expect(await counts()).toEqual({ ...COUNTS, completed: 0 }),
  },
  'put /api/queues/:queueName/pause': {
    path: '/api/queues/mail/pause',
    does: async () => expect(await queue.isPaused()).toBe(true),
  },
  'put /api/queues/:queueName/resume': {
    path: '/api/queues/mail/resume',
    before: () => queue.pause(),
    does: async () => expect(await queue.isPaused()).toBe(false),
  },
  'put /api/queues/:queueName/concurrency': {
    path: '/api/queues/mail/concurrency',
    body: () => ({ concurrency: 100 }),
    refused: LIMITS,
  },
  'put /api/queues/:queueName/rate-limit': {
    path: '/api/queues/mail/rate-limit',
    body: () => ({ max: 100, duration: 1 }),
    refused: LIMITS,
  },
  'put /api/queues/:queueName/rate-limit/release': {
    path: '/api/queues/mail/rate-limit/release',
    refused: LIMITS,
  },
  'put /api/queues/:queueName/empty': {
    path: '/api/queues/mail/empty',
    does: async () => expect(await counts()).toEqual({ ...COUNTS, waiting: 0 }),
  },
  'put /api/queues/:queueName/obliterate': {
    path: '/api/queues/mail/obliterate',
    body: () => ({ force: false }),
    before: () => queue.pause(),
    does: async () => expect(await queue.getJobs()).toEqual([]),
  },
  'put /api/queues/:queueName/job-schedulers/:schedulerId/remove': {
    path: '/api/queues/mail/job-schedulers/nightly/remove',
    status: 204,
    does: async () => expect(await queue.getJobSchedulersCount()).toBe(0),
  },
  'patch /api/queues/:queueName/job-schedulers/:schedulerId': {
    path: '/api/queues/mail/job-schedulers/nightly',
    body: () => ({ every: 30 * MINUTE }),
    status: 204,
    does: async () => {
      expect(await queue.getJobScheduler('nightly')).toMatchObject({ every: 30 * MINUTE });
      expect(await pending()).toEqual({ tenant: currentTenant()?.tenant });
    },
  },
  'put /api/queues/:queueName/job-schedulers/:schedulerId/run': {
    path: '/api/queues/mail/job-schedulers/nightly/run',
    answers: (body, tenant) => expect(body).toMatchObject({ job: { name: 'night', data: { tenant } } }),
    does: async () => expect(await counts()).toEqual({ ...COUNTS, waiting: 2 }),
  },
  'put /api/queues/:queueName/:jobId/retry': {
    path: '/api/queues/mail/failed/retry',
    status: 204,
    does: async () => expect(await stateOf('failed')).toBe('waiting'),
  },
  'put /api/queues/:queueName/:jobId/clean': {
    path: '/api/queues/mail/waiting/clean',
    status: 204,
    does: async () => expect(await stateOf('waiting')).toBe('unknown'),
  },
  'put /api/queues/:queueName/:jobId/promote': {
    path: '/api/queues/mail/delayed/promote',
    status: 204,
    does: async () => expect(await stateOf('delayed')).toBe('waiting'),
  },
  'patch /api/queues/:queueName/:jobId/update-data': {
    path: '/api/queues/mail/waiting/update-data',
    body: () => ({ jobData: { other: true } }),
    does: async () => expect((await queue.getJob('waiting'))?.data).toEqual({ other: true }),
  },
  'patch /api/queues/:queueName/:jobId/delay': {
    path: '/api/queues/mail/delayed/delay',
    body: () => ({ runAt: Date.now() + 10 * MINUTE }),
    does: async () => expect((await queue.getJob('delayed'))?.delay).toBeGreaterThan(5 * MINUTE),
  },
  'patch /api/queues/:queueName/:jobId/priority': {
    path: '/api/queues/mail/waiting/priority',
    body: () => ({ priority: 7 }),
    does: async () => expect(await counts()).toEqual({ ...COUNTS, waiting: 0, prioritized: 1 }),
  },
  'put /api/queues/:queueName/:jobId/remove-unprocessed-children': {
    path: '/api/queues/mail/waiting/remove-unprocessed-children',
    // A job without children waits for none.
    status: 400,
  },
};

describe('bull-board inside a tenant', () => {
  it('every route of it has a row here', () => {
    const routes = appRoutes.api.map(({ method, route }) => `${String(method)} ${String(route)}`);
    expect(Object.keys(ROUTES).toSorted()).toEqual(routes.toSorted());
  });

  it.each(Object.entries(ROUTES))('%s: this tenant’s queue, and nobody else’s', async (route, row) => {
    const { path, body, status = 200, answers, does, refused, before } = row;
    const [method = ''] = route.split(' ');
    const theirs = await stored('acme2');
    // The second tenant is the control: the same request does the same in its own queue.
    for (const tenant of ['acme', 'acme2']) {
      await withTenant(tenant, async () => before?.());
      const own = await stored(tenant);
      const answer = await ask(tenant, method.toUpperCase(), path, body?.());
      expect(answer.text).not.toMatch(tenant === 'acme' ? /acme2|~|tk!/ : /acme(?!2)|~|tk!/);
      if (refused !== undefined) {
        expect(answer.status).toBe(500);
        expect(answer.text).toMatch(refused);
        expect(await stored(tenant)).toEqual(own);
      } else {
        expect(answer.status).toBe(status);
        answers?.(answer.body, tenant);
        await withTenant(tenant, async () => does?.());
      }
      if (tenant === 'acme') expect(await stored('acme2')).toEqual(theirs);
    }
  });

  const ofJobs = Object.entries(ROUTES).filter(([route]) => route.includes(':jobId'));
  it.each(ofJobs)(
    '%s: of a job that only others have, 404 or nothing',
    async (route, { path, body, toNobody }) => {
      const [method = ''] = route.split(' ');
      const before = [await stored('acme'), await stored('acme2')];
      // By its own name, and by the names that it has in Redis.
      for (const id of ['', 'acme~', 'acme2~']) {
        const named = path.replace(
          /mail\/(\w+)/,
          (_all, name: string) => `mail/${encodeURIComponent(id + name)}`,
        );
        const who = id === '' ? 'nobody' : 'acme';
        const answer = await ask(who, method.toUpperCase(), named, body?.());
        if (toNobody === undefined) expect(answer.status, named).toBe(404);
        else expect(answer.body, named).toEqual(toNobody);
        expect(answer.text).not.toMatch(/acme|a row/);
      }
      expect([await stored('acme'), await stored('acme2')]).toEqual(before);
    },
  );

  it('a page of it, and its files, need no job', async () => {
    const page = await ask('nobody', 'GET', '/queue/mail');
    expect(page.status).toBe(200);
    expect(page.text).toContain('<base href="/ui/" />');
    const list = await ask('nobody', 'GET', '/api/queues?activeQueue=mail&page=1&jobsPerPage=10');
    expect(list.body).toMatchObject({ queues: [{ counts: { waiting: 0, failed: 0 }, jobs: [] }] });
  });

  it('what was retried, promoted, changed and added there runs, in the tenant that asked', async () => {
    await ask('acme', 'PUT', '/api/queues/mail/failed/retry');
    await ask('acme', 'PUT', '/api/queues/mail/delayed/promote');
    await ask('acme', 'PATCH', '/api/queues/mail/waiting/update-data', { jobData: { changed: true } });
    await ask('acme', 'POST', '/api/queues/mail/add', {
      name: 'n',
      data: { added: true },
      options: { jobId: 'added' },
    });
    const ran: unknown[] = [];
    const worker = on.worker('mail', async (job) => ran.push([currentTenant()?.tenant, job.id, job.data]));
    await finished(worker, 5);
    expect(ran.toSorted((one, other) => String(one).localeCompare(String(other)))).toEqual([
      ['acme', 'added', { added: true }],
      ['acme', 'delayed', { tenant: 'acme' }],
      ['acme', 'failed', { tenant: 'acme' }],
      ['acme', 'waiting', { changed: true }],
      ['acme2', 'waiting', { tenant: 'acme2' }],
    ]);
  });
});

describe('bull-board across tenants, for an operator', () => {
  it('shows the queue of all: sums, every job under its name in Redis, its page and its logs', async () => {
    const list = await ask(
      EVERYBODY,
      'GET',
      '/api/queues?activeQueue=mail&status=waiting&page=1&jobsPerPage=10',
    );
    expect(list.status).toBe(200);
    expect(list.body).toMatchObject({
      queues: [{ counts: { waiting: 2, completed: 2, failed: 2, delayed: 4 }, jobSchedulerCount: 2 }],
    });
    const [{ jobs }] = (list.body as { queues: [{ jobs: { id: string; data: unknown }[] }] }).queues;
    expect(jobs.map(({ id, data }) => [id, data])).toEqual([
      ['acme~waiting', { tenant: 'acme' }],
      ['acme2~waiting', { tenant: 'acme2' }],
    ]);
    for (const tenant of ['acme', 'acme2']) {
      const page = await ask(EVERYBODY, 'GET', `/api/queues/mail/${tenant}~completed`);
      expect(page.body).toMatchObject({
        job: { id: `${tenant}~completed`, data: { tenant } },
        status: 'completed',
      });
      const logs = await ask(EVERYBODY, 'GET', `/api/queues/mail/${tenant}~completed/logs`);
      expect(logs.body).toEqual([`a row of ${tenant}`]);
      const flow = await ask(EVERYBODY, 'GET', `/api/queues/mail/${tenant}~completed/flow`);
      expect(flow.body).toMatchObject({ isFlowNode: false });
    }
    const schedulers = await ask(EVERYBODY, 'GET', '/api/job-schedulers');
    expect(
      (schedulers.body as { schedulers: { id: string }[] }).schedulers.map(({ id }) => id).toSorted(),
    ).toEqual(['acme2~nightly', 'acme~nightly']);
    expect((await ask(EVERYBODY, 'GET', '/api/queues/mail/waiting')).status).toBe(404);
    expect((await ask(EVERYBODY, 'GET', '/api/redis/stats')).body).toMatchObject({ backend: 'redis' });
  });

  it('acts on one job, of its tenant alone; what it has changed runs', async () => {
    const before = await stored('acme2');
    const acts: readonly (readonly [string, string, unknown?])[] = [
      ['PUT', 'acme~failed/retry'],
      ['PUT', 'acme~delayed/promote'],
      ['PUT', 'acme~completed/clean'],
      ['PATCH', 'acme~waiting/update-data', { jobData: { by: 'an operator' } }],
    ];
    for (const [method, path, body] of acts) {
      const { status, text } = await ask(EVERYBODY, method, `/api/queues/mail/${path}`, body);
      expect([200, 204], text).toContain(status);
    }
    expect(await stored('acme2')).toEqual(before);
    await withTenant('acme', async () =>
      expect(await counts()).toEqual({ ...COUNTS, waiting: 3, failed: 0, delayed: 1, completed: 0 }),
    );
    const worker = on.worker('mail', async (job) => job.data as unknown);
    const all = await finished(worker, 4);
    expect(all.map(({ event }) => event)).toEqual(['completed', 'completed', 'completed', 'completed']);
    expect(all).toContainEqual({ event: 'completed', id: 'waiting', result: { by: 'an operator' } });
  });

  it('holds and empties all; adds for nobody, and sets no limit of all', async () => {
    expect((await ask(EVERYBODY, 'PUT', '/api/queues/mail/pause')).status).toBe(200);
    for (const tenant of ['acme', 'acme2'])
      expect(await withTenant(tenant, () => queue.isPaused()), tenant).toBe(true);
    expect((await ask(EVERYBODY, 'PUT', '/api/queues/mail/resume')).status).toBe(200);
    expect((await ask(EVERYBODY, 'PUT', '/api/queues/mail/empty')).status).toBe(200);
    expect((await ask(EVERYBODY, 'PUT', '/api/queues/mail/promote')).status).toBe(200);
    const sum = await acrossTenants(OPERATOR, counts);
    expect(sum).toEqual({ waiting: 4, completed: 2, failed: 2, delayed: 0, prioritized: 0 });
    const refused: readonly (readonly [string, string, unknown, RegExp])[] = [
      ['POST', 'mail/add', { name: 'n', data: {}, options: {} }, /Enter the tenant first/],
      ['PUT', 'mail/job-schedulers/acme~nightly/run', undefined, /Enter the tenant first/],
      ['PUT', 'mail/concurrency', { concurrency: 1 }, LIMITS],
      ['PUT', 'mail/rate-limit', { max: 1, duration: 1 }, LIMITS],
    ];
    for (const [method, path, body, words] of refused) {
      const { status, text } = await ask(EVERYBODY, method, `/api/queues/${path}`, body);
      expect(status).toBe(500);
      expect(text).toMatch(words);
    }
    expect(await acrossTenants(OPERATOR, counts)).toEqual(sum);
  });
});

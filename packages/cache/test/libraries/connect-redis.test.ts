import { withTenant } from '@tenantkit/core';
import { RedisStore } from 'connect-redis';
import express from 'express';
import session from 'express-session';
import { createServer } from 'node:http';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { acme, acme2, openCache, type Opened } from '../support.ts';
import { keysByTenant, site, type Site } from './support.ts';

declare module 'express-session' {
  interface SessionData {
    visits: number;
  }
}

let opened: Opened;
let store: RedisStore;
let service: Site;
beforeAll(async () => {
  opened = await openCache();
  store = new RedisStore({ client: opened.redis, prefix: 'myapp:' });
  const app = express();
  app.use((req, _, next) => withTenant(req.get('x-tenant') ?? '', next));
  app.use(
    session({
      store,
      resave: false,
      saveUninitialized: false,
      secret: 'keyboard cat',
      // The same id in every tenant.
      genid: () => 'session',
    }),
  );
  app.get('/', (req, res) => {
    req.session.visits = (req.session.visits ?? 0) + 1;
    res.send(`${req.session.visits}`);
  });
  service = await site(createServer(app));
});
afterAll(async () => {
  service.close();
  await opened[Symbol.asyncDispose]();
});

it('keeps the sessions of each tenant, for the same cookie', async () => {
  const first = await service.get('/', 'acme');
  const cookie = first.headers.getSetCookie().join().split(';')[0] ?? '';
  expect(await first.text()).toBe('1');
  const visit = async (tenant: string): Promise<string> =>
    (await service.get('/', tenant, { cookie })).text();
  expect(await visit('acme')).toBe('2');
  expect(await visit('acme2')).toBe('1');
  expect(await visit('acme2')).toBe('2');
  expect(await visit('acme')).toBe('3');
  expect(await keysByTenant(opened.raw)).toEqual({ acme: ['myapp:session'], acme2: ['myapp:session'] });
});

it('lists, counts, touches and clears those of the tenant only', async () => {
  const data = { cookie: { originalMaxAge: null }, visits: 7 } as session.SessionData;
  for (const id of ['a', 'b', 'c']) await acme(() => store.set(id, data));
  await acme2(() => store.set('a', { ...data, visits: 1 }));
  expect((await acme(() => store.ids())).sort()).toEqual(['a', 'b', 'c', 'session']);
  expect(await acme2(() => store.length())).toBe(2);
  expect(await acme2(() => store.get('a'))).toMatchObject({ visits: 1 });
  expect(await acme(() => store.all())).toHaveLength(4);
  await acme(() => store.touch('a', data));
  await acme(() => store.destroy('b'));
  await acme(() => store.clear());
  expect(await keysByTenant(opened.raw)).toEqual({ acme2: ['myapp:a', 'myapp:session'] });
});

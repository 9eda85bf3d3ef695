import rateLimitPlugin from '@fastify/rate-limit';
import { withTenant } from '@tenantkit/core';
import express from 'express';
import { rateLimit } from 'express-rate-limit';
import Fastify from 'fastify';
import { RedisStore, type RedisReply } from 'rate-limit-redis';
import { createServer } from 'node:http';
import { afterEach, describe, expect, it } from 'vitest';
import { acme, failure, openCache, type Opened } from '../support.ts';
import { keysByTenant, scriptsOf, site } from './support.ts';

const closing: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

async function open(...args: Parameters<typeof openCache>): Promise<Opened> {
  const opened = await openCache(...args);
  closing.push(() => opened[Symbol.asyncDispose]());
  return opened;
}

describe('@fastify/rate-limit', () => {
  const scripts = scriptsOf('@fastify/rate-limit', '11.2');

  it('counts the requests of each tenant alone, from the same address', async () => {
    const { redis, raw } = await open({ tenant: { scripts } });
    const app = Fastify();
    app.addHook('onRequest', (request, _, done) => withTenant(String(request.headers['x-tenant']), done));
    await app.register(rateLimitPlugin, { max: 2, timeWindow: '1 minute', redis });
    app.get('/', () => 'ok');
    app.get('/own', { config: { rateLimit: { max: 1, timeWindow: 60_000 } } }, () => 'ok');
    closing.push(() => app.close());
    const get = async (url: string, tenant: string): Promise<number> =>
      (await app.inject({ url, headers: { 'x-tenant': tenant } })).statusCode;
    expect([await get('/', 'acme'), await get('/', 'acme'), await get('/', 'acme')]).toEqual([200, 200, 429]);
    expect([await get('/', 'acme2'), await get('/own', 'acme2'), await get('/own', 'acme2')]).toEqual([
      200, 200, 429,
    ]);
    expect(await get('/own', 'acme')).toBe(200);
    const { acme: own = [], acme2: others } = await keysByTenant(raw);
    expect(own).toHaveLength(2);
    expect(others).toEqual(own);
  });

  it('is refused where it is registered, without the list', async () => {
    const { redis } = await open();
    const app = Fastify();
    closing.push(() => app.close().catch(() => undefined));
    const error = await failure(async () => {
      await app.register(rateLimitPlugin, { max: 2, timeWindow: 1000, redis });
    });
    expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(scripts).toContainEqual({ sha1: /SHA-1 (\w+)/.exec(error.message)?.[1] });
  });
});

describe('express-rate-limit with rate-limit-redis', () => {
  const scripts = scriptsOf('rate-limit-redis', '6.0');

  it('counts the requests of each tenant alone, from the same address', async () => {
    const { redis: client, raw } = await open({ tenant: { scripts } });
    // When the service starts, outside of any tenant: it loads its scripts here.
    const store = new RedisStore({
      sendCommand: (command: string, ...args: string[]) =>
        client.call(command, ...args) as Promise<RedisReply>,
    });
    const limiter = rateLimit({
      windowMs: 15 * 60 * 1000,
      limit: 2,
      standardHeaders: true,
      legacyHeaders: false,
      store,
    });
    const app = express();
    app.use((req, _, next) => withTenant(req.get('x-tenant') ?? '', next));
    app.use(limiter);
    app.get('/', (_, res) => void res.send('ok'));
    const service = await site(createServer(app));
    closing.push(() => service.close());
    const get = async (tenant: string): Promise<number> => (await service.get('/', tenant)).status;
    expect([await get('acme'), await get('acme'), await get('acme')]).toEqual([200, 200, 429]);
    expect([await get('acme2'), await get('acme2')]).toEqual([200, 200]);
    const { acme: own = [], acme2: others } = await keysByTenant(raw);
    expect(own).toEqual(['rl:127.0.0.1']);
    expect(others).toEqual(own);
    expect((await acme(() => store.get('127.0.0.1')))?.totalHits).toBe(3);
    await acme(() => store.decrement('127.0.0.1'));
    await acme(() => store.resetKey('127.0.0.1'));
    expect(await get('acme')).toBe(200);
    expect(await get('acme2')).toBe(429);
  });

  it('loads its scripts again, in the tenant, when the server has lost them', async () => {
    const { redis: client } = await open({ tenant: { scripts } });
    const lost = new Set(['EVALSHA']);
    const store = new RedisStore({
      // As a server answers that was restarted in between.
      sendCommand: (command: string, ...args: string[]) =>
        lost.delete(command)
          ? Promise.reject(new Error('NOSCRIPT No matching script. Please use EVAL.'))
          : (client.call(command, ...args) as Promise<RedisReply>),
    });
    await store.init({ windowMs: 1000 } as never);
    expect((await acme(() => store.increment('x'))).totalHits).toBe(1);
  });

  it('is refused where it is made, without the list', async () => {
    const { redis: client } = await open();
    const store = new RedisStore({
      sendCommand: (command: string, ...args: string[]) =>
        client.call(command, ...args) as Promise<RedisReply>,
    });
    const error = await failure(() => store.init({ windowMs: 1000 } as never));
    expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(scripts).toContainEqual({ sha1: /SHA-1 (\w+)/.exec(error.message)?.[1] });
  });
});

import { Cluster, Redis } from '@tenantkit/cache';
import { startRedisCluster, startRedisNode } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { once } from 'node:events';
import { afterEach, describe, expect, it } from 'vitest';
import { listen } from './pubsub-support.ts';
import { acme, acme2, until } from './support.ts';

const LOGIN = { username: 'app', password: 'secret' } as const;
const WAYS = [
  ['subscribe', 'publish', 'one server'],
  ['psubscribe', 'publish', 'one server'],
  ['ssubscribe', 'spublish', 'one server'],
  ['subscribe', 'publish', 'a cluster'],
  ['ssubscribe', 'spublish', 'a cluster'],
] as const;

let ends: (() => unknown)[] = [];
afterEach(async () => {
  for (const end of ends.splice(0).toReversed()) await end();
});

async function start(where: (typeof WAYS)[number][2]): Promise<{ client: Redis | Cluster; admins: Raw[] }> {
  const isCluster = where === 'a cluster';
  const group = isCluster ? await startRedisCluster({ masters: 3 }) : undefined;
  const single = group === undefined ? await startRedisNode() : undefined;
  ends.push(() => (group ?? single)?.stop());
  const masters = group?.masters ?? (single === undefined ? [] : [single]);
  const admins = masters.map(({ url }) => new Raw(url));
  ends.push(() => admins.forEach((admin) => admin.disconnect()));
  for (const admin of admins)
    await admin.acl('SETUSER', 'app', 'reset', 'on', '>secret', '~*', '&*', '+@all');
  const ports = masters.map(({ port }) => ({ host: '127.0.0.1', port }));
  const client = isCluster
    ? new Cluster(ports, { redisOptions: LOGIN })
    : new Redis({ ...ports[0], ...LOGIN, retryStrategy: () => 10 });
  ends.push(() => client.disconnect());
  await once(client, 'ready');
  return { client, admins };
}

describe('after a reconnect a name that the server refuses', () => {
  it.each(WAYS)(
    'keeps nobody else from hearing, and is asked for again: %s, %s, %s',
    async (kind, publish, where) => {
      const { client, admins } = await start(where);
      const errors: Error[] = [];
      const told: string[] = [];
      client.on('error', (error: Error) => errors.push(error));
      const [mine, others] = [acme(() => listen(client)), acme2(() => listen(client))];
      for (const run of [acme, acme2]) run(() => client.on('resubscribed', (lost) => told.push(...lost)));
      // In one slot, so that they are of one command on a cluster, too.
      await acme(() => client[kind]('{x}mine', '{x}also'));
      await acme2(() => client[kind]('{x}news'));
      const allowed = kind === 'psubscribe' ? '&tk:acme2:{x}news' : '&tk:acme2:*';
      const send = (name: string, message: string): Promise<unknown> =>
        Promise.all(
          (where === 'a cluster' ? [admins[0]] : admins).map((admin) => admin?.publish(name, message)),
        );
      const say = (run: typeof acme, name: string, message: string): Promise<unknown> =>
        run(() => client[publish](name, message));
      // It cuts those who have subscribed to what they may no longer.
      await Promise.all(admins.map((admin) => admin.acl('SETUSER', 'app', 'resetchannels', allowed)));
      await expect
        .poll(
          async () => {
            if (kind === 'ssubscribe') await say(acme2, '{x}news', 'first');
            else await send('tk:acme2:{x}news', 'first');
            return others.heard.length;
          },
          { timeout: 5000 },
        )
        .toBeGreaterThan(0);
      await until(() => errors.length > 0);
      expect(errors.map(({ message }) => message)).toEqual([expect.stringContaining('NOPERM')]);
      expect(errors.map((error) => JSON.stringify(error)).join()).not.toContain('{x}');
      expect(told).toEqual(['{x}news']);
      for (const admin of admins) await admin.acl('SETUSER', 'app', 'allchannels');
      await expect
        .poll(
          async () => {
            await say(acme, '{x}mine', 'later');
            return mine.heard.length;
          },
          { timeout: 8000 },
        )
        .toBeGreaterThan(0);
      await until(() => told.length > 2);
      expect(told.toSorted()).toEqual(['{x}also', '{x}mine', '{x}news']);
      expect(errors).toHaveLength(1);
    },
    40_000,
  );
});

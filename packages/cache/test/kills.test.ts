import { withTenant } from '@tenantkit/core';
import { Redis, ReplyError, type RedisOptions } from '@tenantkit/cache';
import { startRedisNode, type RedisNode, type StartedGroup } from '@tenantkit/testing/servers';
import { Redis as Raw } from 'ioredis';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { Storm } from './storm.ts';
import { acme, failure, shown, until } from './support.ts';

// A connection that is taken away at any moment, with a hundred calls of two tenants on it.
const OWNERS = ['acme', 'acme2'] as const;
const CALLERS = 50;

let server: RedisNode & StartedGroup;
let killer: Raw;
let clients: { disconnect(): void }[] = [];
beforeAll(async () => {
  server = await startRedisNode();
  killer = new Raw(server.url);
});
afterAll(async () => {
  killer.disconnect();
  await server.stop();
});
afterEach(async () => {
  for (const client of clients) client.disconnect();
  clients = [];
  await killer.flushall();
});

function open(options: RedisOptions): Redis {
  const client = new Redis(server.url, { retryStrategy: () => 1, ...options } as object);
  // Writing to a connection that has just been killed.
  client.on('error', () => undefined);
  clients.push(client);
  return client;
}

/** Kills every connection but the killer's. */
const kill = async (): Promise<number> =>
  Number(await killer.call('CLIENT', 'KILL', 'TYPE', 'normal', 'SKIPME', 'yes'));

/** Takes away so many connections, at random moments: after no reply, or up to so many. */
async function killAtRandom(storm: Storm, connections: number, replies: number): Promise<void> {
  for (let killed = 0; killed < connections; killed += await kill()) {
    // At once, too: in the middle of the handshake.
    await storm.more(Math.floor(Math.random() * replies));
  }
  await storm.more(CALLERS * 4);
}

const EVERY: readonly RedisOptions[] = [
  {},
  { enableAutoPipelining: true },
  { maxRetriesPerRequest: null },
  { maxRetriesPerRequest: 0, enableAutoPipelining: true },
  { autoResendUnfulfilledCommands: false },
  { commandTimeout: 3 },
  { enableOfflineQueue: false },
  { enableOfflineQueue: false, enableAutoPipelining: true },
  { protocol: 2, lazyConnect: true, showFriendlyErrorStack: true },
  {
    maxRetriesPerRequest: 1,
    autoResendUnfulfilledCommands: false,
    commandTimeout: 5,
    enableAutoPipelining: true,
  },
];
const KILLS = 1_000;

describe('a thousand kills', () => {
  it.each(EVERY)('give no reply to a wrong caller: %j', async (options) => {
    const client = open(options);
    // A handshake may take longer than a call may, and is repeated.
    if (options.lazyConnect !== true) await until(() => client.status === 'ready');
    const storm = new Storm(client, OWNERS, { callers: CALLERS });
    // Where a call may take three milliseconds, a busy machine answers few of them in time.
    const replies = options.commandTimeout === undefined ? 300 : 40;
    await killAtRandom(storm, KILLS / EVERY.length, replies);
    await storm.stop();
    expect(storm.wrong).toEqual([]);
    expect(storm.strange).toEqual([]);
    // What was given up after its time may be carried out after what was called later.
    if (options.commandTimeout === undefined) expect(storm.lost).toEqual([]);
    expect(storm.replies).toBeGreaterThan(KILLS);
  });

  it('are noticed when a reply goes to a wrong caller', async () => {
    const client = open({});
    const storm = new Storm(client, OWNERS, { callers: CALLERS });
    await storm.more(500);
    expect(storm.wrong).toEqual([]);
    // One reply is waited for by nobody any more: all later ones go to those who have called one later.
    client.commandQueue.shift();
    await storm.more(Infinity);
    expect(storm.wrong.length).toBeGreaterThan(0);
  });
});

describe('a kill', () => {
  it('gives what was waited for on a connection of its own to nobody else', async () => {
    const client = open({ maxRetriesPerRequest: null });
    const heard: string[] = [];
    const state = { running: true };
    const consumers = OWNERS.map((owner) =>
      withTenant(owner, async () => {
        const own = client.duplicate();
        clients.push(own);
        own.on('error', () => undefined);
        while (state.running) {
          const popped = await own.blpop('queue', 1);
          if (popped !== null) heard.push(`${owner} ${popped.join(' ')}`);
        }
      }),
    );
    const producers = OWNERS.map((owner) =>
      withTenant(owner, async () => {
        while (state.running) await client.rpush('queue', owner);
      }),
    );
    for (let time = 0; time < 50; time += 1) {
      const enough = heard.length + 10;
      await until(() => heard.length >= enough);
      await kill();
    }
    state.running = false;
    await Promise.all([...consumers, ...producers]);
    expect(new Set(heard)).toEqual(new Set(OWNERS.map((owner) => `${owner} queue ${owner}`)));
  });

  it('rejects what is not sent again, and autopipelining goes on for all', async () => {
    for (const enableAutoPipelining of [false, true]) {
      const client = open({ autoResendUnfulfilledCommands: false, enableAutoPipelining });
      await acme(() => client.set('key', 'of acme'));
      // It is answered after the end of its connection, which is never.
      const lost = acme(() => failure(() => client.get('key')));
      await until(() => client.commandQueue.length > 0);
      client.stream.destroy();
      const error = await lost;
      expect(error.message).toBe('Command aborted due to connection close');
      // As that of ioredis.
      expect([error.name, error instanceof ReplyError]).toEqual(['AbortError', false]);
      expect(error).toBeInstanceOf(Object.getPrototypeOf(ReplyError));
      expect(error).toMatchObject({ command: { name: 'get', args: ['key'] } });
      expect(shown(error)).not.toContain('tk:');
      expect(await acme(() => client.get('key'))).toBe('of acme');
    }
  });

  it('in a friendly stack the error begins with the line of the caller, and has logical names', async () => {
    const client = open({ showFriendlyErrorStack: true });
    await acme(() => client.set('key', 'x'));
    const errors = [
      await acme(() => failure(() => client.lpush('key', 'x'))),
      await acme(() => failure(() => client.call('lpush', 'key', 'x'))),
      ...((await acme(() => client.pipeline().lpush('key', 'x').call('lpush', 'key', 'x').exec())) ?? []).map(
        ([error]) => error,
      ),
    ];
    expect(errors).toHaveLength(4);
    for (const error of errors) {
      expect(error?.stack?.split('\n')[1]).toContain('kills.test.ts');
      expect(shown(error)).not.toContain('tk:');
    }
  });
});

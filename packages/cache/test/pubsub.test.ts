import { createTenantRegistry, currentTenant, memoryTenantStore, withTenant } from '@tenantkit/core';
import { Command, Redis } from '@tenantkit/cache';
import { TENANTS } from '@tenantkit/testing';
import { EventEmitter, getEventListeners, on, once } from 'node:events';
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { killSubscribers, listen, ownNames, publishIn, sorted, type Ear } from './pubsub-support.ts';
import { acme, acme2, failure, openCache, operator, until, type Opened } from './support.ts';

const METHODS = ['on', 'addListener', 'once', 'prependListener', 'prependOnceListener'] as const;

// Each of them has its own overloads.
function add(
  client: Redis,
  method: (typeof METHODS)[number],
  event: string,
  listener: (...parts: unknown[]) => void,
): unknown {
  return (client as unknown as EventEmitter)[method](event, listener);
}

describe.each([3, 2] as const)('publish and subscribe, protocol %i', (protocol) => {
  // Channels are of the whole server: every test has its own.
  let names: string;
  let connectionName: string;
  let opened: Opened;
  let redis: Redis;
  beforeEach(async () => {
    names = ownNames();
    connectionName = `name-${names.slice(0, 14)}`;
    opened = await openCache({ protocol, connectionName, tenant: { names } });
    redis = opened.redis;
  });
  afterEach(() => opened[Symbol.asyncDispose]());

  const fresh = (): Redis => opened.guarded({ protocol, connectionName, tenant: { names } });
  const physical = (tenant: string, name: string): string => names.replace('{tenant}', tenant) + name;

  it('gives every tenant its own messages, in its own context, by the names it knows', async () => {
    const own = fresh();
    const ears = new Map(
      TENANTS.map((tenant): [string, Ear] => [tenant, withTenant(tenant, () => listen(own))]),
    );
    for (const tenant of TENANTS)
      await withTenant(tenant, async () => {
        expect(await own.subscribe('news', Buffer.from('weather'))).toBe(2);
        expect(await own.psubscribe('n*s')).toBe(3);
        expect(await own.call('SSUBSCRIBE', 'shard')).toBe(1);
      });
    for (const tenant of TENANTS) {
      expect(await publishIn(redis, tenant, 'news', `for ${tenant}`)).toBe(2);
      await withTenant(tenant, () => redis.publish(Buffer.from('weather'), 'rain'));
      await withTenant(tenant, () => redis.spublish('shard', 'piece'));
    }
    for (const [tenant, ear] of ears) {
      await ear.hears('piece');
      await ear.hears('rain');
      expect(sorted(ear.heard)).toEqual(
        sorted([
          ['message', tenant, 'news', `for ${tenant}`],
          ['message', tenant, 'weather', 'rain'],
          ['pmessage', tenant, 'n*s', 'news', `for ${tenant}`],
          ['smessage', tenant, 'shard', 'piece'],
        ]),
      );
    }
  });

  it('takes a name that looks like another tenant’s physical one for a name', async () => {
    const own = fresh();
    const [mine, others] = [acme(() => listen(own)), acme2(() => listen(own))];
    await acme(() => own.subscribe(physical('acme2', 'news'), '../acme2:news', '', 'end'));
    await acme(() => own.psubscribe(physical('*', 'news'), `*`));
    await acme2(() => own.subscribe('news', 'end'));
    await publishIn(redis, 'acme2', 'news', 'secret');
    await publishIn(redis, 'acme', physical('acme2', 'news'), 'forged');
    await publishIn(redis, 'acme', '', 'empty');
    for (const tenant of ['acme', 'acme2']) await publishIn(redis, tenant, 'end', 'end');
    await Promise.all([mine.hears('end'), others.hears('end')]);
    expect(sorted(mine.heard)).toEqual(
      sorted([
        ['message', 'acme', physical('acme2', 'news'), 'forged'],
        ['pmessage', 'acme', '*', physical('acme2', 'news'), 'forged'],
        ['pmessage', 'acme', physical('*', 'news'), physical('acme2', 'news'), 'forged'],
        ['message', 'acme', '', 'empty'],
        ['pmessage', 'acme', '*', '', 'empty'],
        ['message', 'acme', 'end', 'end'],
        ['pmessage', 'acme', '*', 'end', 'end'],
      ]),
    );
    expect(others.heard).toEqual([
      ['message', 'acme2', 'news', 'secret'],
      ['message', 'acme2', 'end', 'end'],
    ]);
  });

  it('matches patterns as the server does for a client of one’s own', async () => {
    const channels = ['a', 'ab', 'a*', 'a?', '[a]', '\\', 'a\\b', 'b', '^', 'é', 'a:b', '*'];
    const patterns = [
      '*',
      'a*',
      'a?',
      String.raw`a\*`,
      '[a]',
      '[^a]',
      String.raw`\[a\]`,
      '[a-b]b',
      '\\',
      '?',
      'é',
    ].concat(String.raw`\\`, '[', '[a', '[^', '**', '*:*', String.raw`a\\b`, '');
    const own = fresh();
    const model = opened.witness({ protocol });
    // Of the same length as what the tenant cannot see, and with nothing to escape.
    const prefix = `${randomBytes(6).toString('hex')}:`;
    const expected: unknown[] = [];
    model.on('pmessage', (pattern, channel, message) =>
      expected.push([pattern.slice(prefix.length), channel.slice(prefix.length), message]),
    );
    const mine = acme(() => listen(own));
    const others = acme2(() => listen(own));
    for (const pattern of patterns) {
      await model.psubscribe(prefix + pattern);
      await acme(() => own.psubscribe(pattern));
      await acme2(() => own.psubscribe(pattern));
    }
    for (const channel of channels) {
      await opened.raw.publish(prefix + channel, channel);
      await publishIn(redis, 'acme', channel, channel);
    }
    await opened.raw.publish(`${prefix}end`, 'end');
    for (const tenant of ['acme', 'acme2']) await publishIn(redis, tenant, 'end', 'end');
    await Promise.all([mine.hears('end'), others.hears('end')]);
    await until(() => expected.some((entry) => (entry as string[])[2] === 'end'));
    const count = (): number => expected.filter((entry) => (entry as string[])[2] === 'end').length;
    await until(() => mine.heard.filter((entry) => entry.at(-1) === 'end').length === count());
    expect(sorted(mine.heard.map((entry) => entry.slice(2)))).toEqual(sorted(expected));
    expect(new Set(others.heard.map((entry) => entry.at(-1)))).toEqual(new Set(['end']));
  });

  it('counts what this tenant has, as the server counts for a client of one’s own', async () => {
    const own = fresh();
    const model = opened.witness({ protocol });
    await acme2(() => own.subscribe('x', 'y', 'z'));
    await acme2(() => own.psubscribe('*'));
    const unique = randomBytes(6).toString('hex');
    const steps: readonly (readonly [string, ...string[]])[] = [
      ['subscribe', 'a'],
      ['subscribe', 'a'],
      ['subscribe', 'b', 'c', 'b'],
      ['psubscribe', 'a*', 'b*'],
      ['ssubscribe', 's'],
      ['ssubscribe', 's', 't'],
      ['unsubscribe', 'a', 'missing'],
      ['unsubscribe', 'x'],
      ['punsubscribe', 'b*'],
      ['sunsubscribe', 't'],
      ['sunsubscribe', 's'],
      ['subscribe', 'd'],
    ];
    for (const [command, ...given] of steps) {
      const counted = await acme(() => own.call(command, ...given));
      const expected = await model.call(command, ...given.map((name) => unique + name));
      expect([command, ...given, counted]).toEqual([command, ...given, expected]);
    }
    // ioredis waits for ever here.
    expect(await acme(() => own.unsubscribe())).toBe(1);
    expect(await acme(() => own.punsubscribe())).toBe(0);
    expect(await acme(() => own.sunsubscribe())).toBe(0);
    expect(await acme(() => own.callBuffer('SUBSCRIBE', 'a'))).toBe(1);
    const counted = await new Promise((resolve) => {
      void acme(() => own.unsubscribe('a', (error, count) => resolve([error, count])));
    });
    expect(counted).toEqual([null, 0]);
    // Of the other tenant nothing has gone.
    expect(await acme2(() => own.unsubscribe('none'))).toBe(4);
  });

  it('with stringNumbers counts in texts, as ioredis', async () => {
    const own = opened.guarded({ protocol, stringNumbers: true, tenant: { names } });
    expect(await acme(() => own.subscribe('a', 'b'))).toBe('2');
  });

  it('leaves the connection of commands to everybody', async () => {
    await acme(() => redis.subscribe('busy'));
    expect(redis.mode).toBe('normal');
    expect(await acme2(() => redis.set('key', 'value'))).toBe('OK');
    expect(await acme(() => redis.multi().set('key', 'mine').get('key').exec())).toEqual([
      [null, 'OK'],
      [null, 'mine'],
    ]);
    expect(await acme(() => redis.unsubscribe())).toBe(0);
  });

  it('keeps what one tenant does at random from what another hears', async () => {
    const own = fresh();
    const victim = acme(() => listen(own));
    const channels = Array.from({ length: 10 }, (_, index) => `c${index}`);
    await acme(() => own.subscribe(...channels));
    await acme(() => own.psubscribe('d*'));
    await acme(() => own.ssubscribe('s'));
    const random = (below: number): number => randomBytes(4).readUInt32LE() % below;
    const commands = ['subscribe', 'psubscribe', 'ssubscribe', 'unsubscribe', 'punsubscribe', 'sunsubscribe'];
    const pool = [...channels, 'd*', 's', physical('acme', 'c0'), '*'];
    const attacks: Promise<unknown>[] = [];
    const sent: string[] = [];
    for (let round = 0; round < 300; round += 1) {
      const names = Array.from({ length: 1 + random(3) }, () => pool[random(pool.length)] ?? '');
      const command = commands[random(commands.length)] ?? '';
      const given = command.includes('un') && random(3) === 0 ? [] : names;
      attacks.push(acme2(() => own.call(command, ...given)));
      const channel = channels[random(10)] ?? '';
      sent.push(`${channel} ${round}`);
      await publishIn(redis, 'acme', channel, `${round}`);
      if (round % 50 === 0) {
        await publishIn(redis, 'acme', 'dd', `d${round}`);
        await acme(() => redis.spublish('s', `s${round}`));
      }
    }
    await Promise.all(attacks);
    await publishIn(redis, 'acme', 'c0', 'end');
    await acme(() => redis.spublish('s', 'send'));
    await Promise.all([victim.hears('end'), victim.hears('send')]);
    const messages = victim.heard
      .filter(([event]) => event === 'message')
      .map(([, , ...rest]) => rest.join(' '));
    expect(messages).toEqual([...sent, 'c0 end']);
    expect(victim.heard.filter(([event]) => event === 'pmessage')).toHaveLength(6);
    expect(victim.heard.filter(([event]) => event === 'smessage')).toHaveLength(7);
  });

  it('subscribes anew after a reconnect, by bytes, and to nothing that was left', async () => {
    const own = fresh();
    const binary = Buffer.from([0xff, 0, 0x80, 0x0d, 0x0a]);
    const [mine, others] = [acme(() => listen(own)), acme2(() => listen(own))];
    const bytes: Buffer[] = [];
    acme(() => own.on('messageBuffer', (channel: Buffer) => bytes.push(channel)));
    await acme(() => own.subscribe('left', 'kept', binary));
    await acme(() => own.psubscribe('p*'));
    await acme(() => own.ssubscribe('s'));
    await acme2(() => own.subscribe('left', 'kept'));
    await acme(() => own.unsubscribe('left'));
    await killSubscribers(opened.raw, connectionName);
    // As soon as the server has them.
    for (const [tenant, channel] of [
      ['acme', 'kept'],
      ['acme2', 'kept'],
      ['acme', 'pp'],
    ] as const)
      while ((await publishIn(redis, tenant, channel, 'probe')) === 0);
    while ((await acme(() => redis.spublish('s', 'probe'))) === 0);
    while ((await acme(() => redis.publish(binary, 'binary'))) === 0);
    await publishIn(redis, 'acme', 'left', 'lost');
    await publishIn(redis, 'acme2', 'left', 'for acme2');
    for (const tenant of ['acme', 'acme2']) await publishIn(redis, tenant, 'kept', 'end');
    await Promise.all([mine.hears('end'), others.hears('end'), others.hears('for acme2')]);
    await until(() => mine.heard.some(([event]) => event === 'smessage'));
    expect(mine.heard.filter((entry) => entry.at(-1) === 'lost')).toEqual([]);
    expect(mine.heard.map((entry) => entry[0])).toContain('pmessage');
    expect(bytes.some((channel) => channel.equals(binary))).toBe(true);
  });

  it('takes no command along when the server cuts off who reads too slowly', async () => {
    const own = fresh();
    const ear = acme(() => listen(own));
    // What it would subscribe to again, nobody awaits: it is rejected when the test has ended.
    const model = opened.witness({ protocol, autoResubscribe: false });
    const closed: string[] = [];
    own.on('close', () => closed.push('ours'));
    await acme(() => own.subscribe('flood', 'news'));
    await model.subscribe(physical('acme', 'flood'));
    // More than the server keeps for a subscriber, before it writes anything.
    const flood = opened.raw.multi();
    for (let n = 0; n < 40; n += 1) flood.publish(physical('acme', 'flood'), Buffer.alloc(2 ** 20));
    const cut = once(model, 'close');
    await flood.exec();
    // With one connection for both it is the commands of everybody that are cut off.
    await cut;
    expect(await acme2(() => own.set('key', 'value'))).toBe('OK');
    while (!ear.heard.some((entry) => entry.at(-1) === 'again'))
      await publishIn(redis, 'acme', 'news', 'again');
    expect(closed).toEqual([]);
  });

  it('tells nobody outside of a tenant, and lets nobody listen there', async () => {
    for (const event of [
      'message',
      'messageBuffer',
      'pmessage',
      'pmessageBuffer',
      'smessage',
      'smessageBuffer',
    ]) {
      for (const method of METHODS)
        expect(await failure(() => add(redis, method, event, () => undefined))).toMatchObject({
          code: 'TENANT_MISSING',
        });
    }
    expect(await failure(() => redis.subscribe('news'))).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await failure(() => redis.unsubscribe())).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await failure(() => redis.publish('news', 'x'))).toMatchObject({ code: 'TENANT_MISSING' });
    const ear = acme(() => listen(redis));
    expect(redis.emit('message', 'news', 'forged')).toBe(false);
    expect(redis.listenerCount('message')).toBe(0);
    expect(redis.removeAllListeners('message')).toBe(redis);
    await acme(() => redis.subscribe('news'));
    await publishIn(redis, 'acme', 'news', 'real');
    await ear.hears('real');
    expect(ear.heard).toEqual([['message', 'acme', 'news', 'real']]);
    acme(() => redis.removeAllListeners());
    await acme(() => redis.unsubscribe());
  });

  it('inside acrossTenants subscribes to raw names, and tells only whoever listens there', async () => {
    const own = fresh();
    const [mine, everything] = [acme(() => listen(own)), operator(() => listen(own))];
    await acme(() => own.subscribe('news'));
    await operator(() => own.subscribe(physical('acme', 'raw')));
    expect(await operator(() => own.psubscribe(physical('a*', 'n*')))).toBe(2);
    await publishIn(redis, 'acme', 'news', 'one');
    await publishIn(redis, 'acme2', 'news', 'two');
    expect(await operator(() => redis.publish(physical('acme', 'raw'), 'end'))).toBe(1);
    await Promise.all([mine.hears('one'), everything.hears('end')]);
    expect(mine.heard).toEqual([['message', 'acme', 'news', 'one']]);
    expect(everything.heard).toEqual([
      ['pmessage', undefined, physical('a*', 'n*'), physical('acme', 'news'), 'one'],
      ['pmessage', undefined, physical('a*', 'n*'), physical('acme2', 'news'), 'two'],
      ['message', undefined, physical('acme', 'raw'), 'end'],
    ]);
  });

  it('refuses what cannot be told apart or belongs to no pipeline, and sends nothing', async () => {
    const own = fresh();
    const refused: readonly (() => unknown)[] = [
      () => own.subscribe(),
      () => own.call('PSUBSCRIBE'),
      () => own.call('PSUBSCRIBE', Buffer.from([0x61, 0xff])),
      () => own.call('PUBSUB', 'NUMPAT'),
      () => own.call('PUBSUB'),
      ...['subscribe', 'PSUBSCRIBE', 'ssubscribe', 'unsubscribe', 'punsubscribe', 'SUNSUBSCRIBE'].flatMap(
        (name) => [
          async () => {
            throw (await own.pipeline([[name, 'a']]).exec())?.[0]?.[0] ?? new Error('not refused');
          },
          () => own.multi([[name, 'a']]).exec(),
        ],
      ),
    ];
    for (const call of refused) {
      const error = await acme(() => failure(call));
      expect(error).toMatchObject({ code: 'OPERATION_REFUSED' });
    }
    for (const name of ['subscribe', 'punsubscribe'])
      expect(await operator(() => failure(() => own.multi([[name, 'a']]).exec()))).toMatchObject({
        code: 'OPERATION_REFUSED',
      });
    expect(await acme(() => own.subscribe('a'))).toBe(1);
    expect(await acme(() => own.sendCommand(new Command('PSUBSCRIBE', ['a'])))).toBe(2);
    expect(await acme(() => own.pipeline().publish('a', 'x').exec())).toEqual([[null, 2]]);
  });

  it('answers PUBSUB with the channels of the tenant', async () => {
    const own = fresh();
    await acme(() => own.subscribe('news', 'weather', physical('acme2', 'x')));
    await acme(() => own.ssubscribe('shard'));
    await acme2(() => own.subscribe('news', 'secret'));
    await acme2(() => own.ssubscribe('secret'));
    await acme(async () => {
      expect(sorted(await redis.pubsub('CHANNELS'))).toEqual(
        sorted(['news', physical('acme2', 'x'), 'weather']),
      );
      expect(await redis.pubsub('CHANNELS', 'n*')).toEqual(['news']);
      expect(await redis.pubsub('CHANNELS', physical('acme2', 's*'))).toEqual([]);
      expect(await redis.callBuffer('pubsub', 'channels', Buffer.from('w*'))).toEqual([
        Buffer.from('weather'),
      ]);
      expect(await redis.pubsub('NUMSUB', 'news', 'secret', '')).toEqual(['news', 1, 'secret', 0, '', 0]);
      expect(await redis.pubsub('NUMSUB')).toEqual([]);
      expect(await redis.pubsub('SHARDCHANNELS')).toEqual(['shard']);
      expect(await redis.pubsub('SHARDNUMSUB', 'shard', 'secret')).toEqual(['shard', 1, 'secret', 0]);
      expect(await redis.multi().pubsub('CHANNELS', 'n*').pubsub('NUMSUB', 'news').exec()).toEqual([
        [null, ['news']],
        [null, ['news', 1]],
      ]);
      expect(await redis.pubsub('HELP')).toBeInstanceOf(Array);
    });
  });

  it('ends with the client, and comes back with it', async () => {
    const own = fresh();
    const ear = acme(() => listen(own));
    await acme(() => own.subscribe('news'));
    own.disconnect();
    await once(own, 'end');
    while ((await publishIn(redis, 'acme', 'news', 'gone')) > 0);
    expect((await failure(() => acme(() => own.subscribe('more')))).message).toBe('Connection is closed.');
    await own.connect();
    while ((await publishIn(redis, 'acme', 'news', 'back')) === 0);
    await ear.hears('back');
    expect(ear.heard.filter((entry) => entry.at(-1) === 'gone')).toEqual([]);
    await own.quit();
    while ((await publishIn(redis, 'acme', 'news', 'gone')) > 0);
  });

  it('works on duplicates, those made when the service starts included', async () => {
    const early = redis.duplicate();
    const later = acme(() => redis.duplicate());
    const lazy = opened.guarded({ protocol, lazyConnect: true, tenant: { names } });
    for (const own of [early, later, lazy]) {
      const ear = acme(() => listen(own));
      expect(await acme(() => own.subscribe('news'))).toBe(1);
      expect(await publishIn(redis, 'acme', 'news', 'hello')).toBe(1);
      await ear.hears('hello');
      expect(ear.heard).toEqual([['message', 'acme', 'news', 'hello']]);
      if (own === later) {
        expect(await acme2(() => failure(() => own.subscribe('news')))).toMatchObject({
          code: 'TENANT_SWITCH',
        });
        acme(() => own.disconnect());
      }
      own.disconnect();
      while ((await publishIn(redis, 'acme', 'news', 'gone')) > 0);
    }
    expect(lazy.status).not.toBe('wait');
  });
});

describe('listeners of messages', () => {
  const names = ownNames();
  let opened: Opened;
  let redis: Redis;
  beforeAll(async () => {
    opened = await openCache({ tenant: { names } });
    redis = opened.redis;
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => redis.subscribe('news', 'end'));
  });
  afterAll(() => opened[Symbol.asyncDispose]());

  it.each(METHODS)('%s hears the own tenant, and is seen and removed there only', async (method) => {
    const heard: unknown[] = [];
    const listener = function (this: unknown, ...parts: unknown[]): void {
      heard.push([this === redis, currentTenant()?.tenant, ...parts]);
    };
    expect(acme(() => add(redis, method, 'message', listener))).toBe(redis);
    const others = acme2(() => listen(redis));
    acme2(() => {
      expect(redis.listeners('message')).not.toContain(listener);
      expect(redis.rawListeners('message')).toHaveLength(1);
      expect(redis.listenerCount('message')).toBe(1);
      expect(redis.listenerCount('message', listener)).toBe(0);
      expect(getEventListeners(redis as unknown as EventEmitter, 'message')).not.toContain(listener);
      expect(redis.off('message', listener)).toBe(redis);
      redis.removeListener('message', listener);
      expect(redis.emit('message', 'news', 'forged')).toBe(true);
    });
    expect(EventEmitter.prototype.emit.call(redis, 'message', 'news', 'forged')).toBe(false);
    expect(EventEmitter.prototype.rawListeners.call(redis, 'message')).toEqual([]);
    acme(() => {
      expect(redis.listeners('message')).toEqual([listener]);
      expect(redis.listenerCount('message', listener)).toBe(1);
      expect(redis.eventNames()).toContain('message');
    });
    expect(redis.eventNames()).not.toContain('message');
    await publishIn(redis, 'acme2', 'news', 'secret');
    await publishIn(redis, 'acme', 'news', 'first');
    await publishIn(redis, 'acme', 'news', 'second');
    await publishIn(redis, 'acme2', 'end', 'end');
    await others.hears('end');
    const both = [[true, 'acme', 'news', 'first']].concat(
      method.toLowerCase().includes('once') ? [] : [[true, 'acme', 'news', 'second']],
    );
    expect(heard).toEqual(both);
    acme2(() => redis.removeAllListeners());
    expect(acme(() => redis.listenerCount('message'))).toBe(both.length - 1);
    acme(() => redis.off('message', listener));
    expect(acme(() => redis.listenerCount('message'))).toBe(0);
  });

  it('of events.on and events.once are those of the tenant', async () => {
    const seen: unknown[] = [];
    const controller = new AbortController();
    const loop = acme(async () => {
      try {
        for await (const parts of on(redis, 'message', { signal: controller.signal })) seen.push(parts);
      } catch (error) {
        expect(error).toMatchObject({ name: 'AbortError' });
      }
    });
    const first = acme(() => once(redis, 'messageBuffer'));
    await publishIn(redis, 'acme2', 'news', 'secret');
    await publishIn(redis, 'acme', 'news', 'mine');
    expect(await first).toEqual([Buffer.from('news'), Buffer.from('mine')]);
    await until(() => seen.length === 1);
    controller.abort();
    await loop;
    expect(seen).toEqual([['news', 'mine']]);
    expect(acme(() => redis.eventNames())).not.toContain('message');
  });

  it('of other events stay when a tenant removes all', async () => {
    const own = opened.guarded({ lazyConnect: true, tenant: { names } });
    const heard: string[] = [];
    own.on('ready', () => heard.push('service'));
    acme2(() => own.on('ready', () => heard.push('acme2')));
    acme(() => own.on('ready', () => heard.push('acme')));
    acme(() => own.removeAllListeners());
    acme(() => own.removeAllListeners('ready'));
    await own.connect();
    expect(heard).toEqual(['service', 'acme2']);
    own.removeAllListeners('ready');
    expect(own.listenerCount('ready')).toBe(0);
  });

  it('that write into a message change nobody else’s', async () => {
    const heard: string[] = [];
    const name = `${names.replace('{tenant}', 'acme')}news`;
    const note = (channel: Buffer, message: Buffer): void => {
      heard.push(`${channel.toString()} ${message.toString()}`);
      channel.fill(0);
      message.fill(0);
    };
    for (const scope of [acme, operator]) scope(() => redis.on('messageBuffer', note));
    // One message of the server for both.
    await operator(() => redis.subscribe(name));
    await publishIn(redis, 'acme', 'news', 'one');
    await until(() => heard.length === 2);
    expect(heard).toEqual(['news one', `${name} one`]);
    for (const scope of [acme, operator]) scope(() => redis.off('messageBuffer', note));
    await operator(() => redis.unsubscribe());
  });

  it('that throw keep nobody else from hearing', async () => {
    const known = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException');
    const thrown = once(process, 'uncaughtException');
    try {
      const own = opened.guarded({ tenant: { names } });
      await operator(() => own.subscribe(names.replace('{tenant}', 'acme') + 'news'));
      operator(() =>
        own.once('message', () => {
          throw new Error('of a listener');
        }),
      );
      const [mine, others] = [acme(() => listen(own)), acme2(() => listen(own))];
      for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => own.subscribe('news'));
      await publishIn(redis, 'acme', 'news', 'one');
      await publishIn(redis, 'acme2', 'news', 'two');
      await Promise.all([mine.hears('one'), others.hears('two')]);
      expect(await thrown).toMatchObject([{ message: 'of a listener' }, 'uncaughtException']);
    } finally {
      process.removeAllListeners('uncaughtException');
      for (const listener of known) process.on('uncaughtException', listener);
    }
  });

  it('with a template of glob characters hear no other tenant', async () => {
    const glob = ownNames().replace('{tenant}', String.raw`*[a]?\{tenant}`);
    const own = opened.guarded({ tenant: { names: glob } });
    const [mine, others] = [acme(() => listen(own)), acme2(() => listen(own))];
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => own.psubscribe('*'));
    await publishIn(own, 'acme2', 'news', 'secret');
    await publishIn(own, 'acme', 'news', 'end');
    await publishIn(own, 'acme2', 'news', 'end');
    // What the template would match as a pattern.
    expect(await opened.raw.publish(`${glob.split('*')[0]}xay?acme:news`, 'forged')).toBe(0);
    await Promise.all([mine.hears('end'), others.hears('end')]);
    expect(mine.heard).toEqual([['pmessage', 'acme', '*', 'news', 'end']]);
    expect(acme(() => own.listenerCount('pmessage'))).toBe(1);
  });

  it('of a frozen tenant hear nothing until it is active again, and of an erased one nothing at all', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    const own = opened.guarded({ tenant: { names, fence } });
    const [mine, others] = [acme(() => listen(own)), acme2(() => listen(own))];
    for (const tenant of ['acme', 'acme2']) await withTenant(tenant, () => own.subscribe('news', 'end'));
    const tell = async (message: string): Promise<void> => {
      for (const tenant of ['acme', 'acme2']) await publishIn(redis, tenant, 'news', message);
      await others.hears(message);
    };
    await tell('one');
    await fence.freeze('acme');
    await tell('two');
    expect(await acme(() => failure(() => own.subscribe('more')))).toMatchObject({ code: 'TENANT_FENCED' });
    await fence.unfreeze('acme');
    await tell('three');
    await fence.markErased('acme');
    await tell('four');
    fence.close();
    expect(mine.heard.map((entry) => entry.at(-1))).toEqual(['one', 'three']);
    expect(others.heard.map((entry) => entry.at(-1))).toEqual(['one', 'two', 'three', 'four']);
  });
});

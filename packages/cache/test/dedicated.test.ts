import { TenantSwitchError, withTenant } from '@tenantkit/core';
import type { Redis } from '@tenantkit/cache';
import { once } from 'node:events';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { BLOCKING, ENDING, ruleOf } from '../src/rules.ts';
import { acme, acme2, failure, openCache, operator, ready, type Opened } from './support.ts';

let opened: Opened;
let redis: Redis;
beforeAll(async () => {
  opened = await openCache();
  ({ redis } = opened);
});
afterAll(() => opened[Symbol.asyncDispose]());
beforeEach(async () => {
  await opened.raw.flushdb();
  await opened.raw.set('tk:acme2:key', 'of acme2');
});

const refused = expect.objectContaining({
  code: 'OPERATION_REFUSED',
  instead: expect.stringContaining('redis.dedicated((own) => …)') as string,
});

const waits: Readonly<Record<string, readonly (string | number)[]>> = {
  blmove: ['list', 'other', 'LEFT', 'RIGHT', 0],
  blmovem: ['list', 'other', 'LEFT', 'RIGHT', 0, 'COUNT', 2],
  blmpop: [0, 1, 'list', 'LEFT'],
  blpop: ['list', 0],
  brpop: ['list', 0],
  brpoplpush: ['list', 'other', 0],
  bzmpop: [0, 1, 'sorted', 'MIN'],
  bzpopmax: ['sorted', 0],
  bzpopmin: ['sorted', 0],
  wait: [9, 0],
  waitaof: [0, 9, 0],
  xread: ['COUNT', 1, 'bLoCk', 0, 'STREAMS', 'stream', '$'],
  xreadgroup: ['GROUP', 'group', 'me', 'BLOCK', 0, 'STREAMS', 'stream', '>'],
};

describe('a command that may wait', () => {
  it('is known to be one, for every command that the server says it of', async () => {
    const all = (await opened.raw.call('COMMAND')) as [name: string, arity: number, flags: string[]][];
    const blocking = all.filter(
      ([name, , flags]) => flags.includes('blocking') && ruleOf(name)?.kind !== 'refuse',
    );
    expect(blocking.map(([name]) => name).filter((name) => !(name in waits))).toEqual([]);
    expect(Object.keys(waits).filter((name) => !BLOCKING.has(name))).toEqual(['xread', 'xreadgroup']);
    expect([...BLOCKING].filter((name) => !(name in waits))).toEqual([]);
  });

  it.each(Object.entries(waits))('%s makes nobody wait on a shared connection', async (name, args) => {
    for (const run of [acme, operator]) {
      const sent = redis.stream.bytesWritten;
      expect(await failure(() => run(() => redis.call(name.toUpperCase(), ...args)))).toEqual(refused);
      expect(redis.stream.bytesWritten).toBe(sent);
      expect(await run(() => redis.pipeline([[name, ...args]]).exec())).toEqual([[refused]]);
    }
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    // Inside of a transaction nothing waits. One that the server does not know ends the transaction.
    await opened.raw.xgroup('CREATE', 'tk:acme:stream', 'group', '$', 'MKSTREAM');
    const answered = await acme(() => redis.multi([[name, ...args]]).exec()).catch(String);
    const immediate: Readonly<Record<string, unknown>> = { wait: 0, waitaof: [expect.any(Number), 0] };
    expect([[[null, immediate[name] ?? null]], expect.stringContaining('EXECABORT')]).toContainEqual(
      answered,
    );
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('reads streams at once without BLOCK, on a shared connection', async () => {
    await opened.raw.xadd('tk:acme:block', '1-1', 'a', 'b');
    await opened.raw.xgroup('CREATE', 'tk:acme:block', 'block', '0');
    const entries = [['block', [['1-1', ['a', 'b']]]]];
    await acme(async () => {
      expect(await redis.xread('STREAMS', 'block', '0')).toEqual(entries);
      expect(await redis.xreadgroup('GROUP', 'block', 'block', 'STREAMS', 'block', '>')).toEqual(entries);
    });
  });

  it('waits on a connection of the tenant’s own, while the others go on', async () => {
    const own = acme(() => redis.duplicate());
    const popped = acme(() => own.blpop('list', 0));
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
    await acme(() => redis.rpush('list', 'x'));
    expect(await popped).toEqual(['list', 'x']);
    const all = operator(() => redis.duplicate());
    await opened.raw.rpush('tk:acme:list', 'y');
    expect(await operator(() => all.blpop('tk:acme:list', 0))).toEqual(['tk:acme:list', 'y']);
    own.disconnect();
    all.disconnect();
  });
});

describe('a connection of a tenant’s own', () => {
  it('is refused to everybody else', async () => {
    const own = acme(() => redis.duplicate());
    for (const run of [acme2, operator]) {
      expect(await failure(() => run(() => own.get('key')))).toBeInstanceOf(TenantSwitchError);
      expect(await failure(() => run(() => own.pipeline()))).toBeInstanceOf(TenantSwitchError);
      expect(await failure(() => run(() => own.multi()))).toBeInstanceOf(TenantSwitchError);
    }
    expect(await failure(() => own.get('key'))).toMatchObject({ code: 'TENANT_MISSING' });
    expect(await own.ping()).toBe('PONG');
    expect(await acme(() => own.set('key', 'x'))).toBe('OK');
    expect(await acme(() => own.get('key'))).toBe('x');
    own.disconnect();
  });

  it('that is made outside of any tenant is shared', async () => {
    const own = redis.duplicate();
    expect(await acme2(() => own.get('key'))).toBe('of acme2');
    expect(await failure(() => acme(() => own.blpop('list', 0)))).toEqual(refused);
    own.disconnect();
  });
});

describe('the end of a connection', () => {
  it('is not brought about by one tenant of several', async () => {
    expect(ENDING).toEqual(new Set(['quit']));
    for (const call of [
      () => redis.quit(),
      () => redis.call('QUIT'),
      () => redis.disconnect(),
      () => redis.disconnect(true),
      () => redis.end(),
    ])
      expect(await failure(() => acme(call))).toMatchObject({ code: 'OPERATION_REFUSED' });
    expect(await acme(() => redis.pipeline().quit().exec())).toEqual([
      [expect.objectContaining({ code: 'OPERATION_REFUSED' })],
    ]);
    // Unlike a command that waits, QUIT ends the connection inside of a transaction, too.
    expect(await failure(() => acme(() => redis.multi().quit().exec()))).toMatchObject({
      code: 'OPERATION_REFUSED',
    });
    expect(await acme2(() => redis.get('key'))).toBe('of acme2');
  });

  it('is the owner’s, the operator’s and the service’s', async () => {
    for (const [make, end] of [
      [acme, acme],
      [acme, <T>(fn: () => T): T => fn()],
      [operator, operator],
      [<T>(fn: () => T): T => fn(), operator],
    ] as const) {
      const quitting = make(() => redis.duplicate());
      await ready(quitting);
      const ended = once(quitting, 'end');
      expect(await end(() => quitting.quit())).toBe('OK');
      await ended;
      const cut = make(() => redis.duplicate());
      const gone = once(cut, 'end');
      end(() => cut.disconnect());
      await gone;
    }
    const own = acme(() => redis.duplicate());
    for (const run of [acme2, operator])
      expect(await failure(() => run(() => own.disconnect()))).toBeInstanceOf(TenantSwitchError);
    expect(await acme(() => own.ping())).toBe('PONG');
    own.disconnect();
    expect(await withTenant('acme2', () => redis.get('key'))).toBe('of acme2');
  });
});

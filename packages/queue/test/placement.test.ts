import { describe, expect, it } from 'vitest';
import { InvalidPlacement, isSamePlace, placeSchema, readPlacement } from '../src/placement.ts';

/** As much of a client as tells BullMQ that it is one. Any two of them look alike. */
class Client {
  connect(): void {}
  disconnect(): void {}
  duplicate(): void {}
}
const client = (): never => new Client() as never;

const refusedAs = (answer: unknown): string => {
  try {
    readPlacement(answer);
  } catch (error) {
    if (error instanceof InvalidPlacement) return `${error.name}: ${error.message}`;
    throw error;
  }
  throw new Error('it was accepted');
};

describe('what place has answered', () => {
  it('is the pool, or a silo with a client or an address', () => {
    expect(readPlacement({ level: 'pool' })).toBeUndefined();
    const own = client();
    expect(readPlacement({ level: 'silo', connection: own })).toBe(own);
    for (const connection of [
      { url: 'redis://h' },
      { host: 'h', db: 3 },
      { port: 6380 },
      { path: '/run/redis.sock' },
      { sentinels: [{ host: 'h' }], name: 'm' },
    ])
      expect(readPlacement({ level: 'silo', connection })).toEqual(connection);
  });

  it('is copied: what is changed in it later is no move', () => {
    const connection = { host: 'one' };
    const read = readPlacement({ level: 'silo', connection });
    connection.host = 'other';
    expect(read).toEqual({ host: 'one' });
    expect(Object.isFrozen(read)).toBe(true);
    expect(Object.isFrozen(connection)).toBe(false);
  });

  it('is refused where it is anything else, so that no tenant falls into the pool', () => {
    const level = "InvalidPlacement: place.level: must be 'pool' or 'silo'";
    for (const answer of [
      undefined,
      null,
      'pool',
      7,
      [],
      {},
      { level: 'Pool' },
      { level: 'schema' },
      Promise.resolve(),
    ])
      expect(refusedAs(answer)).toBe(level);
    const connection =
      'InvalidPlacement: place.connection: must be an ioredis client, or options that say where a server is';
    // ioredis would connect to this machine without any of them.
    for (const given of [
      undefined,
      null,
      'redis://h',
      {},
      { db: 3 },
      { host: undefined, password: 'secret' },
      [],
    ])
      expect(refusedAs({ level: 'silo', connection: given })).toBe(connection);
    expect(refusedAs({ level: 'pool', connection: { host: 'h' }, at: 1 })).toBe(
      'InvalidPlacement: place: unknown option connection, at',
    );
    expect(refusedAs({ level: 'silo', connection: { host: 'h' }, prefix: 'p' })).toBe(
      'InvalidPlacement: place: unknown option prefix',
    );
  });

  it('is the same place as another answer by identity of a client, and by value of options', () => {
    const [one, other] = [client(), client()];
    expect(isSamePlace(one, one)).toBe(true);
    expect(isSamePlace(one, other)).toBe(false);
    expect(isSamePlace(one, { host: 'h' })).toBe(false);
    expect(isSamePlace({ host: 'h' }, one)).toBe(false);
    expect(isSamePlace({ host: 'h', tls: { ca: 'x' } }, { host: 'h', tls: { ca: 'x' } })).toBe(true);
    expect(isSamePlace({ host: 'h', db: 1 }, { host: 'h', db: 2 })).toBe(false);
  });

  it('comes from a function', () => {
    const place = (): never => ({ level: 'pool' }) as never;
    expect(placeSchema.parse(place)).toBe(place);
    for (const given of [undefined, null, {}, 'place'])
      expect(placeSchema.safeParse(given).error?.issues[0]?.message).toBe('must be a function');
  });
});

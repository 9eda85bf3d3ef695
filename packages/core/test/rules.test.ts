import { describe, expect, it } from 'vitest';
import {
  acrossTenants,
  custom,
  defineRules,
  pass,
  refusal,
  refuse,
  rewrite,
  ruleFor,
  withTenant,
  type Rules,
} from '../src/index.ts';

interface RawClient {
  get(key: string): string;
  ping(): string;
}
interface UpgradedClient extends RawClient {
  surprise(): string;
}
type Table<Client> = Rules<keyof Client & string, 'firstKey', () => void>;

const table = defineRules({
  get: rewrite('firstKey'),
  ping: pass('names nothing'),
} satisfies Table<RawClient>);

describe('rules', () => {
  it('a raw client with one more operation does not compile until it is decided about', () => {
    // @ts-expect-error -- `surprise` has no row
    const missing = { get: rewrite('firstKey'), ping: pass('names nothing') } satisfies Table<UpgradedClient>;
    const decided = {
      ...missing,
      surprise: refuse('nobody knows it', 'Use get.'),
    } satisfies Table<UpgradedClient>;
    expect(Object.keys(decided)).toEqual(['get', 'ping', 'surprise']);
  });

  it('a row that no operation asks for does not compile either', () => {
    // @ts-expect-error -- `gett` is no operation
    const typo = { get: rewrite('firstKey'), ping: pass('…'), gett: pass('…') } satisfies Table<RawClient>;
    expect(typo).toBeDefined();
  });

  it('a row is exactly one of four decisions', () => {
    // @ts-expect-error -- neither rewrite, custom, pass nor refuse
    const unknown = { get: { kind: 'allow' }, ping: pass('…') } satisfies Table<RawClient>;
    expect(unknown).toBeDefined();
    const customised = { get: custom(() => undefined), ping: pass('…') } satisfies Table<RawClient>;
    expect(customised.get.kind).toBe('custom');
  });

  it.each(['constructor', '__proto__', 'toString', 'hasOwnProperty', 'flushall'])(
    '%s has no row',
    (operation) => {
      expect(ruleFor(table, operation)).toBeUndefined();
      expect((table as Record<string, unknown>)[operation]).toBeUndefined();
      expect(ruleFor(table, 'get')).toEqual({ kind: 'rewrite', rewrite: 'firstKey' });
    },
  );

  it('a table cannot be changed', () => {
    expect(() => Object.assign(table, { flushall: pass('…') })).toThrow(TypeError);
  });

  it('a refusal says why and what to use instead', () => {
    const error = refusal(
      'cache',
      'flushall',
      refuse('it removes the keys of every tenant', 'Delete your own keys.'),
    );
    expect(error).toMatchObject({
      code: 'OPERATION_REFUSED',
      operation: 'flushall',
      hint: 'Delete your own keys.',
      message: 'cache.flushall is refused: it removes the keys of every tenant. Delete your own keys.',
    });
  });

  it('a refusal says what of the call it is about, by default the operation', () => {
    expect(refusal('storage', 'get', refuse('it is', 'Do not.'))).toMatchObject({ reason: 'operation' });
    expect(refusal('storage', 'get')).toMatchObject({ reason: 'operation' });
    expect(refusal('storage', 'get', refuse('it is', 'Do not.', 'key'))).toMatchObject({ reason: 'key' });
    expect(refuse('it is', 'Do not.')).not.toHaveProperty('reason');
  });

  it('a refusal says where it was called', () => {
    const bypass = { reason: 'a test', actor: 'tests' };
    const refused = () => refusal('cache', 'select', refuse('it is', 'Do not.')).message;
    expect(withTenant('acme', refused)).toBe('cache.select is refused inside a tenant: it is. Do not.');
    expect(acrossTenants(bypass, refused)).toBe(
      'cache.select is refused inside acrossTenants: it is. Do not.',
    );
    expect(refused()).toBe('cache.select is refused: it is. Do not.');
  });

  it('an operation without a row is refused as unknown', () => {
    expect(refusal('cache', 'surprise')).toMatchObject({
      code: 'OPERATION_REFUSED',
      why: expect.stringContaining('table'),
    });
  });
});

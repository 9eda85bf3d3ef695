import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import {
  StoreUnreachableError,
  controlTenant,
  auditSignal,
  eraseRun,
  isId,
  isVerified,
  memoryTenantStore,
  createTenantRegistry,
  optionSchemas,
  parseOptions,
  subjectPattern,
  tenantId,
  withoutCredentials,
} from '../src/index.ts';

const schema = z.strictObject({
  names: optionSchemas.names,
  fence: optionSchemas.fence,
  subjects: optionSchemas.subjects,
});

describe('parseOptions', () => {
  it('takes the shared options', async () => {
    const fence = await createTenantRegistry({ store: memoryTenantStore() });
    fence.close();
    expect(
      parseOptions('cache', schema, { names: 'x:{tenant}:', fence, subjects: ['user:{subject}:*'] }),
    ).toMatchObject({ fence });
  });

  it('refuses an option that the adapter does not know, by name', () => {
    expect(() => parseOptions('cache', schema, { place: () => 'silo' })).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', message: expect.stringContaining('place') }),
    );
  });

  it.each([
    [{ name: 'x' }, '"name" (is "names" meant?); there are names, fence, subjects'],
    [{ NAMES: 'x' }, '"NAMES" (is "names" meant?)'],
    [{ place: 'x', fenec: 1 }, '"place", "fenec" (is "fence" meant?)'],
    [{ ['k'.repeat(40)]: 'x' }, 'unknown option a name that is not shown; there are'],
    [{ hunter2: 'x' }, 'unknown option a name that is not shown; there are'],
    [{ inner: { seven: 7, ten: 1 } }, 'tenant.inner: unknown option "ten"; there are seven'],
  ])('says what is near an unknown option, in %j', (value, said) => {
    const inner = z.strictObject({ seven: z.number() }).optional();
    expect(() => parseOptions('cache', schema.extend({ inner }), value)).toThrow(
      expect.objectContaining({ message: expect.stringContaining(said) }),
    );
  });

  it('says of which function they are, where they are under no key', () => {
    const parse = (value: unknown): unknown => parseOptions('cache', schema, value, 'cacheEraser');
    expect(parse({ names: 'x:{tenant}:' })).toEqual({ names: 'x:{tenant}:' });
    for (const [value, said] of [
      [{ names: 7 }, 'names: '],
      [{ name: 'x' }, 'unknown option "name" (is "names" meant?); there are names, fence, subjects'],
      [7, 'Invalid input'],
    ] as const) {
      const error = expect.objectContaining({
        code: 'CONFIG_INVALID',
        operation: 'cacheEraser',
        message: expect.stringContaining(said),
      });
      expect(() => parse(value)).toThrow(error);
      expect(() => parse(value)).not.toThrow(/tenant[.:]/);
    }
  });

  it.each([{ fence: {} }, { fence: true }, { names: 7 }, { subjects: 'x' }])(
    'refuses %j and shows the path',
    (value) => {
      expect(() => parseOptions('cache', schema, value)).toThrow(
        expect.objectContaining({
          message: expect.stringContaining(`tenant.${Object.keys(value).join('')}`),
        }),
      );
    },
  );
});

describe('eraseRun', () => {
  it('completes what is missing, and calls what was given as it was given', async () => {
    const whole = eraseRun('cache', 'erase');
    const { signal, checkpoint } = whole;
    expect([signal.aborted, await checkpoint.load(), await checkpoint.save('x')]).toEqual([
      false,
      undefined,
      undefined,
    ]);
    expect(() => whole.progress({ kind: 'keys', done: 1 })).not.toThrow();
    const given = {
      signal: AbortSignal.abort(),
      checkpoint,
      done: 0,
      progress({ done }: { done: number }) {
        this.done = done;
      },
    };
    const run = eraseRun('cache', 'erase', given);
    run.progress({ kind: 'keys', done: 7 });
    expect([run.signal, run.checkpoint, given.done]).toEqual([given.signal, checkpoint, 7]);
  });

  it.each([
    [{ signal: 'now' }, 'signal must be an AbortSignal'],
    [{ checkpoint: { load: () => undefined } }, 'checkpoint must be'],
    [{ checkpoint: null }, 'checkpoint must be'],
    [{ progress: true }, 'progress must be a function'],
    ['now', 'the run is no object'],
    [null, 'the run is no object'],
  ])('refuses %j', (given, problem) => {
    expect(() => eraseRun('cache', 'cacheEraser.erase', given as never)).toThrow(
      expect.objectContaining({
        code: 'CONFIG_INVALID',
        operation: 'cacheEraser.erase',
        message: expect.stringContaining(problem),
      }),
    );
  });
});

describe('auditSignal', () => {
  it('is the one that was given, or one that nobody aborts', () => {
    const { signal } = new AbortController();
    expect(auditSignal('cache', 'cacheAuditor.audit', signal)).toBe(signal);
    expect(auditSignal('cache', 'cacheAuditor.audit').aborted).toBe(false);
  });

  it.each([60_000, null, {}, 'now'])('refuses %j', (given) => {
    expect(() => auditSignal('cache', 'cacheAuditor.audit', given as never)).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', operation: 'cacheAuditor.audit' }),
    );
  });
});

describe('subjectPattern', () => {
  it.each([
    'user:{subject}',
    'user:{subject}:*',
    'users/{subject}/**',
    '{subject}',
    '*:{subject}',
    '?:x{subject}:*',
    'x-{subject}',
    { field: 'author_id' },
  ])('takes %j', (pattern) => {
    expect(subjectPattern.safeParse(pattern).success).toBe(true);
  });

  it.each([
    'user:*',
    'user:{subject}*',
    'user:{subject}0',
    'u{subject}-x',
    '*{subject}',
    'session*{subject}',
    'x?{subject}',
    'a:*-{subject}:*',
    '*:?{subject}',
    '{subject}{subject}',
    { field: '' },
    { column: 'x' },
  ])('refuses %j', (pattern) => {
    expect(subjectPattern.safeParse(pattern).success).toBe(false);
  });
});

describe('ids', () => {
  it.each([
    '550e8400-e29b-41d4-a716-446655440000',
    '01ARZ3NDEKTSV4RRFFQ69G5FAV',
    'V1StGXR8_Z5jdHi6B-myT',
    'acme',
  ])('%s is an id', (id) => {
    expect(tenantId.safeParse(id).success).toBe(true);
    expect(isId(id)).toBe(true);
  });

  it.each(['', 'a b', 'a.b', 'a\n', 7, null, ['acme']])('%j is none', (id) => {
    expect(tenantId.safeParse(id).success).toBe(false);
    expect(isId(id)).toBe(false);
  });

  it('a control tenant is an id that nobody else has', () => {
    expect(isId(controlTenant())).toBe(true);
    expect(controlTenant()).not.toBe(controlTenant());
  });
});

describe('isVerified', () => {
  const clean = {
    store: 'cache',
    remaining: [{ kind: 'keys', count: 0 }],
    kept: [],
    control: { planted: 1, found: 1, method: 'scan' },
  };
  it('holds when nothing remains and the control was found', () => {
    expect(isVerified(clean)).toBe(true);
  });
  it.each([
    { remaining: [{ kind: 'keys', count: 1 }] },
    { control: { planted: 1, found: 0, method: 'scan' } },
    { control: { planted: 0, found: 0, method: 'scan' } },
  ])('does not hold with %j', (change) => {
    expect(isVerified({ ...clean, ...change })).toBe(false);
  });
});

describe('errors about servers', () => {
  it.each([
    ['redis://user:hunter2@127.0.0.1:6379/0?x=hunter2', 'redis://127.0.0.1:6379/0'],
    ['https://AKIA:hunter2@s3.example.com/', 'https://s3.example.com'],
    ['postgres://postgres:hunter2@db/app', 'postgres://db/app'],
    ['not a url hunter2', 'the server'],
    ['data:hunter2', 'the server'],
  ])('show %j without credentials', (url, shown) => {
    expect(withoutCredentials(url)).toBe(shown);
    const error = new StoreUnreachableError({ surface: 'cache', target: url });
    expect(`${error.message} ${error.target} ${JSON.stringify(error)}`).not.toContain('hunter2');
  });
});

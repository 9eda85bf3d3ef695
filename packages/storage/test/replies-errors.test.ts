import { ServiceException } from '@smithy/core/client';
import { IsolationBreachError, OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { Call } from '../src/call.ts';
import { rewriteError } from '../src/reply.ts';
import { HOME, REALM, callOf } from './calls.ts';

describe('an error', () => {
  const call = (): Call => callOf('CopyObjectCommand', { Key: 'a.b', CopySource: 'uploads/a.b.c' });
  const told = (error: unknown, of: Call = call()): unknown => rewriteError(REALM, of, error);
  const errorOf = (more: object): Error => Object.assign(new Error('no'), more);

  it.each([
    ['not tenants/acme/a.b', 'not a.b'],
    ['tenants/acme/a.b.c and tenants/acme/a.b', 'a.b.c and a.b'],
    ['tenants/acme/aXb', 'aXb'],
    ['all of tenants/acme/', 'all of '],
    ['tenants/acme2/a.b', 'tenants/acme2/a.b'],
    ['the bucket acme.up, not acmeXup', 'the bucket uploads, not acmeXup'],
    ['acme.up2 my-acme.up x.acme.up acme.up-x', 'acme.up2 my-acme.up x.acme.up acme.up-x'],
    ['acme.up/tenants/acme/a.b in media.eu', 'uploads/a.b in media.eu'],
  ])('that says %j tells %j', (message, words) => {
    const error = new Error(message);
    expect(told(error)).toBe(error);
    expect(error.message).toBe(words);
    expect(error.stack).toContain(words);
    if (message !== words) expect(error.stack).not.toContain(message);
  });

  it('spells a key as the caller does, which may look like a physical one or like the name of a bucket', () => {
    const twice = callOf('GetObjectCommand', { Key: 'tenants/acme/acme.up' });
    const error = errorOf({
      Key: 'tenants/acme/tenants/acme/acme.up',
      Resource: '/acme.up/tenants/acme/tenants/acme/acme.up',
      Fault: 1,
    });
    expect(told(error, twice)).toMatchObject({
      Key: 'tenants/acme/acme.up',
      Resource: '/uploads/tenants/acme/acme.up',
      Fault: 1,
    });
    const own = callOf('GetObjectCommand', { Key: 'z' });
    expect(told(errorOf({ Key: 'tenants/acme/acme.up/x' }), own)).toMatchObject({ Key: 'acme.up/x' });
    for (const Key of ['acme.up', 'undefined']) {
      expect(told(errorOf({ Key: `tenants/acme/${Key}` }), own)).toMatchObject({ Key });
    }
    const nested = callOf('GetObjectCommand', { Key: 'tenants/acme/a b' });
    expect(told(new Error('no tenants/acme/tenants/acme/a%20b'), nested)).toMatchObject({
      message: 'no tenants/acme/a%20b',
    });
    const encoded = callOf('GetObjectCommand', { Key: 'a b' });
    expect(told(new Error('tenants/acme/a%20b'), encoded)).toMatchObject({ message: 'a%20b' });
  });

  it('of another tenant’s key is a breach', () => {
    const breach = told(errorOf({ Key: 'tenants/acme2/a' }));
    expect(breach).toBeInstanceOf(IsolationBreachError);
    expect(breach).toMatchObject({
      message: expect.stringContaining(
        'storage.CopyObjectCommand: an error named a key outside the tenant',
      ) as unknown,
    });
    expect(told(errorOf({ Key: 'tenants/acme/a' }))).toMatchObject({ Key: 'a' });
    expect(told(errorOf({ Key: 7 }))).toMatchObject({ Key: 7 });
  });

  it('of a key of the client’s own, which is in no tenant, is none', () => {
    const own = { ...call(), key: 'tk!subjects/acme/p1/k/a' };
    expect(told(errorOf({ Key: own.key }), own)).toMatchObject({ Key: own.key });
    expect(told(errorOf({ Key: `${own.key}b` }), own)).toBeInstanceOf(IsolationBreachError);
  });

  it('keeps nothing of a body that could not be read', () => {
    const $response = { body: '<Key>tenants/acme2/x</Key>', statusCode: 500 };
    const error = Object.defineProperty(errorOf({ $response }), '$responseBodyText', {
      value: 'tenants/acme2/x',
    });
    const copy = told(error) as Error;
    expect(copy).not.toBe(error);
    expect(Object.getOwnPropertyDescriptor(copy, '$responseBodyText')?.value).toBe('');
    expect([copy.message, copy.stack, $response]).toEqual(['no', error.stack, { body: '', statusCode: 500 }]);
    expect(Object.getOwnPropertyDescriptor(copy, 'stack')).toMatchObject({
      writable: true,
      configurable: true,
    });
    const stream = { on: 1 };
    for (const response of [{ body: stream }, {}]) {
      const before = { ...response };
      expect(told(errorOf({ $response: response }))).toMatchObject({ $response: before });
    }
  });

  describe('made of a document with more than texts', () => {
    const DOCUMENT = {
      $fault: 'client',
      $metadata: { attempts: 1, requestId: 'tenants/acme/a.b' },
      $retryable: { throttling: true },
      Code: 'InvalidArgument',
      Size: 7,
      IsIt: false,
      Nothing: undefined,
      None: null,
    };
    const NESTED = {
      Details: { Key: 'tenants/acme2/a' },
      Arg: ['tenants/acme/a', 'tenants/acme2/a'],
      body: { p: [{ b: 'tenants/acme2/a' }] },
      Key: ['tenants/acme2/a'],
      When: new Date(5),
    };

    const fieldsOf = (error: unknown): object => Object.fromEntries(Object.entries(error as Error));

    it('has the texts alone, wherever the others stand', () => {
      const error = errorOf({ ...DOCUMENT, ...NESTED });
      expect(told(error)).toBe(error);
      expect(fieldsOf(error)).toStrictEqual(DOCUMENT);
      const fixed = Object.defineProperty(errorOf(DOCUMENT), 'Details', { value: NESTED.Details });
      const copy = told(fixed) as Error;
      expect(copy).not.toBe(fixed);
      expect(Object.keys(Object.getOwnPropertyDescriptors(copy))).not.toContain('Details');
      expect([copy.message, fieldsOf(copy)]).toEqual(['no', DOCUMENT]);
    });

    it('has what stands in the element Error, which the SDK repeats', () => {
      const inside = { Code: 'NoSuchKey', Key: 'tenants/acme/a.b', Resource: '/acme.up/tenants/acme/a.b' };
      const error = errorOf({ ...DOCUMENT, Error: { ...inside, ...NESTED, Key: inside.Key } });
      expect(fieldsOf(told(error))).toStrictEqual({
        ...DOCUMENT,
        Error: { Code: 'NoSuchKey', Key: 'a.b', Resource: '/uploads/a.b' },
      });
      const foreign = errorOf({ ...DOCUMENT, Error: { ...inside, Key: 'tenants/acme2/a' } });
      expect(told(foreign)).toBeInstanceOf(IsolationBreachError);
      const list = errorOf({ ...DOCUMENT, Error: [inside] });
      expect(fieldsOf(told(list))).toStrictEqual(DOCUMENT);
    });

    it('has elements of S3 alone, and none that passes for what callers know errors by', () => {
      const key = { Key: 'tenants/acme2/a' };
      const spoofed = { code: 'TENANT_MISSING', cause: key, toString: '1', $other: key, $fault: 'client' };
      const error = errorOf({ ...DOCUMENT, ...spoofed, $retryable: { throttling: 'true', Key: key.Key } });
      Object.assign(error, { $metadata: { requestId: key, attempts: 1 } });
      const shown = told(error) as Error & Record<string, unknown>;
      expect(shown).toBe(error);
      expect([shown['code'], shown['cause'], shown['$other'], shown['$retryable']]).toEqual(
        Array(4).fill(undefined),
      );
      expect(String(shown)).toBe('Error: no');
      expect(shown).toMatchObject({ Code: 'InvalidArgument', $fault: 'client', $metadata: { attempts: 1 } });
      expect(JSON.stringify(fieldsOf(shown))).not.toContain('acme2');
    });

    it('keeps everything where no server has made it', () => {
      const cause = new Error('tenants/acme/');
      const errors = [cause];
      const error = Object.assign(new AggregateError(errors, 'no'), { cause, address: { port: 1 } });
      expect(told(error)).toBe(error);
      expect(error).toMatchObject({ cause, errors, address: { port: 1 } });
      const failed = Object.assign(new Error('no', { cause }), { ...DOCUMENT, Details: {} });
      expect(told(failed)).toMatchObject({ cause });
      expect(failed).not.toHaveProperty('Details');
    });
  });

  it('of which nothing is to be changed is left alone', () => {
    const error = Object.defineProperty(errorOf({}), 'Code', { value: 'tenants/' });
    expect(told(error)).toBe(error);
    const changed = Object.defineProperty(errorOf({}), 'Code', { value: 'tenants/acme/' });
    expect(told(changed)).not.toBe(changed);
    expect(told(changed)).toMatchObject({ message: 'no' });
  });

  it('of a place with several buckets has all of their names', () => {
    const buckets = new Map([
      ['uploads', 'acme.up'],
      ['media.eu', 'acme.me'],
    ]);
    const placed = { ...call(), home: { ...HOME, buckets } };
    expect(told(new Error('acme.up, acme.me'), placed)).toMatchObject({ message: 'uploads, media.eu' });
  });

  it('of the SDK stays of its class', () => {
    // As the SDK makes its own: importing those would take longer than all that is tested here.
    class NoSuchKey extends ServiceException {}
    const error = new NoSuchKey({
      name: 'NoSuchKey',
      $fault: 'client',
      message: 'no tenants/acme/a.b',
      $metadata: {},
    });
    Object.defineProperty(error, 'Resource', { value: '/acme.up/tenants/acme/a.b', enumerable: true });
    const copy = told(error);
    expect(copy).toBeInstanceOf(NoSuchKey);
    expect(copy).toMatchObject({ name: 'NoSuchKey', message: 'no a.b', Resource: '/uploads/a.b' });
  });

  it('of tenantkit, or what is none, stays as it is', () => {
    const own = new OperationRefusedError({
      surface: 'storage',
      operation: 'x',
      why: 'tenants/acme/',
      instead: 'y',
    });
    for (const error of [own, 'tenants/acme/a', undefined, { message: 'tenants/acme/a' }]) {
      const before = error instanceof Error ? error.message : structuredClone(error);
      expect(told(error)).toBe(error);
      expect(error instanceof Error ? error.message : error).toEqual(before);
    }
  });

  it('where all buckets are called as they are, keeps their names', () => {
    const home = { ...HOME, buckets: new Map([['uploads', 'uploads']]) };
    expect(told(new Error('uploads/tenants/acme/a.b'), { ...call(), home })).toMatchObject({
      message: 'uploads/a.b',
    });
  });
});

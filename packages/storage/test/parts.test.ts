import { OperationRefusedError, withTenant } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import { allowed } from '../src/allowed.ts';
import { poolOf, sealedTo } from '../src/place.ts';
import { plainText, plainValue } from '../src/plain.ts';
import { createSealer, type SealingKey } from '../src/seal.ts';
import { refuseTag, tagKeys } from '../src/tags.ts';
import { openUploadId, sealUploadId, type UploadName } from '../src/upload-id.ts';
import { HOME, REALM, startOf } from './calls.ts';

describe('the id of an upload', () => {
  const POOL = poolOf(['b']);
  const NAME = { tenant: 'acme', home: POOL, bucket: 'b', key: 'tenants/acme/a', subjects: [] };
  const { sealer } = REALM;

  it('opens for its tenant, bucket and key, or where only its place in a listing counts', () => {
    const sealed = sealUploadId(sealer, 'u1', NAME);
    expect(sealUploadId(sealer, 'u1', NAME)).toBe(sealed);
    expect(sealed).not.toContain('u1');
    expect(openUploadId(sealer, sealed, NAME)).toEqual({ id: 'u1', subjects: [] });
    expect(openUploadId(sealer, sealed, { ...NAME, key: undefined })).toEqual({ id: 'u1', subjects: [] });
    for (const other of [{ tenant: 'acme2' }, { bucket: 'c' }, { key: 'tenants/acme/b' }, { key: '' }]) {
      expect(openUploadId(sealer, sealed, { ...NAME, ...other })).toBeUndefined();
    }
    expect(openUploadId(sealer, sealed, { ...NAME, key: undefined, tenant: 'acme2' })).toBeUndefined();
    for (const none of ['u1', undefined, sealer.seal('u1', ['list', 'acme', 'b'])]) {
      expect(openUploadId(sealer, none, NAME)).toBeUndefined();
    }
  });

  it('opens in its place alone; that of the pool as it was before there were others', () => {
    const silo = (id: string): UploadName['home'] => ({
      id: `silo ${id}`,
      silo: {
        id,
        endpoint: `https://${id}`,
        region: undefined,
        forcePathStyle: true,
        identity: { accessKeyId: 'a', secretAccessKey: 's' },
      },
    });
    const homes = [POOL, HOME, silo('one'), silo('two'), silo('bridge')];
    for (const home of homes) {
      const sealed = sealUploadId(sealer, 'u1', { ...NAME, home });
      for (const other of homes)
        expect(openUploadId(sealer, sealed, { ...NAME, home: other })?.id).toBe(
          other === home ? 'u1' : undefined,
        );
    }
    expect(sealedTo(POOL)).toEqual([]);
  });

  it('tells whom the upload is about, in any place of its own', () => {
    for (const subjects of [['p1'], ['p1', 'p2']]) {
      const sealed = sealUploadId(sealer, 'u1', { ...NAME, subjects });
      expect(openUploadId(sealer, sealed, NAME)).toEqual({ id: 'u1', subjects });
      expect(openUploadId(sealer, sealed, { ...NAME, key: undefined })).toEqual({ id: 'u1', subjects });
      expect(openUploadId(sealer, sealed, { ...NAME, key: 'tenants/acme/b' })).toBeUndefined();
    }
  });

  it('is as long for a long key as for a short one, and empty when the server’s own is', () => {
    const of = (key: string, id = 'u1'): string => sealUploadId(sealer, id, { ...NAME, key });
    expect(of('x'.repeat(1024))).toHaveLength(of('x').length);
    expect(openUploadId(sealer, of('x', ''), { ...NAME, key: 'x' })).toEqual({ id: '', subjects: [] });
  });
});

describe('a sealer', () => {
  it('needs a key to seal, and opens nothing without one', () => {
    const none = createSealer([]);
    expect(() => none.seal('a', [])).toThrow('createSealer needs at least one key');
    expect(none.open(REALM.sealer.seal('a', []), [])).toBeUndefined();
  });

  it('tells keys of one name apart, and opens long texts up to its limit', () => {
    const keyOf = (letter: string): SealingKey => ({ kid: 'k', secret: letter.repeat(32) });
    const token = createSealer([keyOf('x')]).seal('a', ['p']);
    expect(createSealer([keyOf('y'), keyOf('x')]).open(token, ['p'])).toBe('a');
    const long = 'a'.repeat(6111);
    expect(REALM.sealer.seal(long, [])).toHaveLength(8192);
    expect(REALM.sealer.open(REALM.sealer.seal(long, []), [])).toBe(long);
    expect(REALM.sealer.open(REALM.sealer.seal(`${long}a`, []), [])).toBeUndefined();
    expect(REALM.sealer.open(REALM.sealer.seal('', []), [])).toBe('');
    expect(REALM.sealer.open(REALM.sealer.seal('é😀', []), [])).toBe('é😀');
  });

  it('seals what was sealed before in the same way', () => {
    // The format is one that other processes, and other versions, must open.
    expect(REALM.sealer.seal('next', ['list', 'é'])).toBe(
      'AYJUwynqWUYUOK30fcyTBYpn5UTlmBmmGYSc4NNe1HQ2ud8-zA',
    );
    expect(REALM.sealer.open('AYJUwynqWUYUOK30fcyTBYpn5UTlmBmmGYSc4NNe1HQ2ud8-zA', ['list', 'é'])).toBe(
      'next',
    );
  });
});

describe('tags', () => {
  it.each([
    ['', []],
    ['a', ['a']],
    ['a=', ['a']],
    ['a=b=c', ['a']],
    ['a=1&b+c=2&%26%3D=3', ['a', 'b c', '&=']],
    ['a+b+c', ['a b c']],
    ['&', ['', '']],
    ['%', undefined],
    ['a=%', ['a']],
  ])('%j have the keys %j', (text, keys) => {
    expect(tagKeys(text)).toEqual(keys);
  });

  it('are refused but for those that tenants may write', () => {
    const accepted = new Set(['a']);
    expect(refuseTag(accepted, 'Tagging', 'a')).toBeUndefined();
    for (const key of ['b', '', undefined, ['a']]) {
      expect(refuseTag(accepted, 'Tagging', key)).toMatchObject({
        why: expect.stringMatching(/^Tagging has a tag that tenants may not write: ./) as unknown,
        instead: expect.stringMatching(/^Name its key in the client option tenant\.tags/) as unknown,
      });
    }
  });
});

describe('a plain value', () => {
  const plain = (value: unknown): unknown => plainValue('PutObjectCommand', 'Field', value);

  it.each([
    ['a é\u0080', 'a é\u0080'],
    [7, 7],
    [false, false],
    [new Date(5), new Date(5)],
    [new Uint8Array([1]), Buffer.from([1])],
    [
      ['a', undefined, 1, null],
      ['a', 1],
    ],
    [
      { a: 'b', c: undefined, d: null, e: new Date(5) },
      { a: 'b', e: new Date(5) },
    ],
    [{}, {}],
  ])('%j is %j', (given, copy) => {
    expect(plain(given)).toStrictEqual(copy);
    if (typeof given === 'object') expect(plain(given)).not.toBe(given);
  });

  it('holds no code of the caller’s', () => {
    const date = Object.assign(new Date(5), { getTime: () => 6, toISOString: () => 'x' });
    expect(plain(date)).toStrictEqual(new Date(5));
    const bytes = new Uint8Array([1]);
    const copy = plain(bytes);
    bytes[0] = 2;
    expect(copy).toEqual(Buffer.from([1]));
  });

  it.each([
    ['a\n', 'Field has a control character. Remove it: it would end a header.'],
    ['\u0000', 'Field has a control character.'],
    ['\u001f', 'Field has a control character.'],
    ['\u007f', 'Field has a control character.'],
    [{ a: 'b\r' }, 'Field has a control character.'],
    [{ a: {} }, 'Field is not a plain value. Give a text, number, boolean, date or bytes.'],
    [[['a']], 'Field is not a plain value.'],
    [() => 'a', 'Field is not a plain value.'],
    [null, 'Field is not a plain value.'],
    [undefined, 'Field is not a plain value.'],
    [Symbol('a'), 'Field is not a plain value.'],
  ])('%j is none', (value, words) => {
    const refused = (): unknown => withTenant('acme', () => plain(value));
    expect(refused).toThrow(OperationRefusedError);
    expect(refused).toThrow(`storage.PutObjectCommand is refused inside a tenant: ${words}`);
    expect(refused).toThrow(expect.objectContaining({ reason: 'value' }));
  });

  it('that is text may have tabs and line breaks, and nothing else of the kind', () => {
    const text = (value: unknown): string => plainText('SelectObjectContentCommand', 'Field', value);
    expect(text('a\t\r\n\n')).toBe('a\t\r\n\n');
    for (const value of ['a\u0000', '\u000b', '\u007f\n', 7, undefined, ['a']]) {
      expect(() => text(value)).toThrow(OperationRefusedError);
      expect(() => text(value)).toThrow(
        'storage.SelectObjectContentCommand is refused: Field is not a text without control characters. Give a text; of control characters, only tabs and line breaks.',
      );
    }
  });
});

describe('what a row lets through', () => {
  it('is known by headers, query, elements of the body and what must be there', () => {
    const of = (operation: Parameters<typeof startOf>[0]): ReturnType<typeof allowed> =>
      allowed(startOf(operation).plan);
    const put = of('PutObjectCommand');
    expect(of('PutObjectCommand')).toBe(put);
    expect([put.streams, put.required, put.families, [...put.query], [...put.elements]]).toEqual([
      true,
      ['Key'],
      ['x-amz-meta-'],
      [],
      [],
    ]);
    expect(put.headers.get('x-amz-acl')).toMatchObject({ values: ['private', 'bucket-owner-full-control'] });
    expect(put.headers.get('content-md5')).toMatchObject({ as: 'same' });
    expect([put.headers.has('content-length'), put.headers.get('content-length')]).toEqual([
      true,
      { as: 'same', header: 'content-length' },
    ]);
    const removal = of('DeleteObjectsCommand');
    expect([removal.streams, removal.required, removal.families]).toEqual([false, ['Delete'], []]);
    expect([...removal.elements.keys()]).toEqual([
      'Delete',
      'Delete/Quiet',
      'Delete/Object',
      ...['Key', 'VersionId', 'ETag', 'LastModifiedTime', 'Size'].map((name) => `Delete/Object/${name}`),
    ]);
    expect([...of('RestoreObjectCommand').elements.keys()]).not.toContain('RestoreRequest/OutputLocation');
    const read = of('GetObjectCommand');
    expect([read.streams, [...read.elements], [...read.query.keys()]]).toEqual([
      false,
      [],
      [
        'versionId',
        ...'cache-control content-disposition content-encoding content-language content-type expires'
          .split(' ')
          .map((name) => `response-${name}`),
        'partNumber',
      ],
    ]);
    // The SDK sends a body in chunks with a checksum behind it; what has no body says nothing of one.
    for (const name of ['content-encoding', 'content-md5', 'x-amz-sdk-checksum-algorithm']) {
      expect([put.headers.has(name), removal.headers.has(name), read.headers.has(name)]).toEqual([
        true,
        true,
        false,
      ]);
    }
  });

  it('is beside that only what says how a request travels', () => {
    const headers = [...allowed(startOf('GetObjectTaggingCommand').plan).headers.keys()];
    expect(headers.sort()).toEqual(
      `accept accept-encoding amz-sdk-invocation-id amz-sdk-request authorization b3 baggage
        connection content-length content-type date elastic-apm-traceparent expect host newrelic
        sentry-trace traceparent tracestate transfer-encoding uber-trace-id user-agent
        x-amz-content-sha256 x-amz-date x-amz-decoded-content-length x-amz-expected-bucket-owner
        x-amz-region-set x-amz-request-payer x-amz-security-token x-amz-trailer x-amz-user-agent
        x-amzn-trace-id x-b3-flags x-b3-parentspanid x-b3-sampled x-b3-spanid x-b3-traceid
        x-cloud-trace-context x-correlation-id x-datadog-parent-id x-datadog-sampling-priority
        x-datadog-trace-id x-request-id`.split(/\s+/),
    );
  });
});

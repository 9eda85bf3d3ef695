import { OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { Call } from '../src/call.ts';
import { assertHead } from '../src/head.ts';
import { make } from './requests.ts';

// How long the head of a request is counted, to the byte.

const MAX = 12_288;
const WITH_TOKEN = 15_872;
const TOKEN = 'x-amz-security-token';
/** The method, the version of the protocol, and what the signature adds without a header. */
const BARE = 'PUT'.length + 15 + 300;

const call = { operation: 'PutObjectCommand' } as Call;
type Texts = Readonly<Record<string, unknown>>;
const named = (count: number): Texts =>
  Object.fromEntries(Array.from({ length: count }, (_, index) => [`n${100 + index}`, '']));

/** Counts a request of these parameters and headers with a path of the given length. */
const count = (path: number, query: Texts, headers: Texts): void =>
  assertHead(
    make('PUT', 'p'.repeat(path)),
    new Map(Object.entries(query)),
    new Map(Object.entries(headers) as [string, string][]),
    call,
  );

describe('the head of a request', () => {
  it.each<[string, query: Texts, headers: Texts, length: number]>([
    ['nothing', {}, {}, BARE],
    // `n100=&`, of which the value is empty.
    ['many parameters', named(500), {}, BARE + 500 * 6],
    ['an encoded parameter', { a: 'é /'.repeat(200) }, {}, BARE + 3 + 200 * (6 + 3 + 3)],
    ['a number', { a: 12 }, {}, BARE + 5],
    // The name, a colon, a blank and the end of the line; the name once more in the signature, and a semicolon.
    ['many headers', {}, named(500), BARE + 500 * (4 + 4 + 4 + 1)],
    ['a value of more bytes than letters', {}, { a: 'é'.repeat(1000) }, BARE + 1 + 2000 + 4 + 2],
    ['a long authorization', {}, { authorization: 'x'.repeat(1000), a: '' }, BARE - 300 + 1000 + 5],
    ['one of more bytes than letters', {}, { authorization: 'é'.repeat(1000) }, BARE - 300 + 2000],
    ['one that will be longer', {}, { authorization: 'x'.repeat(310), ...named(10) }, BARE + 10 * 13],
    ['a session token', {}, { [TOKEN]: 'x'.repeat(1000) }, BARE + TOKEN.length + 1],
  ])('with %s is counted to the byte', (_what, query, headers, length) => {
    expect(() => count(MAX - length, query, headers)).not.toThrow();
    const tooLong = (): void => count(MAX - length + 1, query, headers);
    expect(tooLong).toThrow(OperationRefusedError);
    expect(tooLong).toThrow(
      'storage.PutObjectCommand is refused: its headers and parameters are too long. Keep less in Metadata and in texts of the reply (AWS takes 2 KiB of metadata).',
    );
  });

  it.each(['x', 'é'])('may be longer by a session token of %s, and that is counted as well', (char) => {
    const [token, rest] = [char.repeat(2000), BARE + TOKEN.length + 1];
    const path = WITH_TOKEN - Buffer.byteLength(token) - rest;
    const length = Math.min(path, MAX - rest);
    expect(() => count(length, {}, { [TOKEN]: token })).not.toThrow();
    expect(() => count(length + 1, {}, { [TOKEN]: token })).toThrow(OperationRefusedError);
    // Where the rest is as long as it may be.
    const long = char.repeat(Math.floor((WITH_TOKEN - MAX) / Buffer.byteLength(char)));
    expect(() => count(MAX - rest, {}, { [TOKEN]: long })).not.toThrow();
    expect(() => count(MAX - rest, {}, { [TOKEN]: `${long}${char}` })).toThrow(OperationRefusedError);
  });
});

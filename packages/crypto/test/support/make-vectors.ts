/**
 * Writes docs/vectors/crypto-*.json with the implementation on WebCrypto:
 * `node --conditions=@tenantkit/source packages/crypto/test/support/make-vectors.ts`
 * Inputs are fixed, so running it again changes nothing.
 */
import { writeFile } from 'node:fs/promises';
import {
  columnKey,
  contextOf,
  encrypt,
  hex,
  joined,
  toText,
  u32,
  utf8,
  wrap,
  type Place,
} from './webcrypto.ts';

const FOLDER = new URL('../../../../docs/vectors/', import.meta.url);

// Bytes that count up from a start: nobody takes them for keys in use.
const count = (from: number, length: number): Uint8Array<ArrayBuffer> =>
  Uint8Array.from({ length }, (_, at) => (from + at) % 256);

const PLACES: readonly {
  readonly name: string;
  readonly place: Place;
  readonly plaintext: Uint8Array<ArrayBuffer>;
}[] = [
  {
    name: 'a text, with a row',
    place: { tenant: 'acme', epoch: 1, table: 'users', column: 'ssn', row: '7' },
    plaintext: utf8('123-45-6789'),
  },
  {
    name: 'the same field without a row',
    place: { tenant: 'acme', epoch: 1, table: 'users', column: 'ssn' },
    plaintext: utf8('123-45-6789'),
  },
  {
    name: 'the empty text',
    place: { tenant: 'a', epoch: 1, table: 'users', column: 'note', row: '7' },
    plaintext: utf8(''),
  },
  {
    name: 'text beyond the basic plane, a byte order mark, names that are not ASCII',
    place: { tenant: 'a-b', epoch: 2, table: 'Kunden', column: 'straße', row: 'n° 1' },
    plaintext: utf8('\u{feff}Zoë 🐘'),
  },
  {
    name: 'one AES block, highest epoch',
    place: { tenant: 'acme2', epoch: 0xffff_ffff, table: 't', column: 'c', row: '0' },
    plaintext: count(0, 16),
  },
  {
    name: 'bytes that are no text, longer than a block',
    place: {
      tenant: 'ac',
      epoch: 1,
      table: 'files',
      column: 'body',
      row: '018f6f3e-0000-7000-8000-000000000001',
    },
    plaintext: count(200, 100),
  },
];

const messages = await Promise.all(
  PLACES.map(async ({ name, place, plaintext }, at) => {
    const secret = count(at, 32);
    const salt = count(100 + at, 24);
    const message = await encrypt(secret, place, plaintext, salt);
    return {
      name,
      secret: hex(secret),
      ...place,
      salt: hex(salt),
      plaintext: hex(plaintext),
      columnKey: hex(await columnKey(secret, place)),
      context: hex(contextOf(place)),
      message: hex(message),
      text: toText(message),
    };
  }),
);

const wraps = await Promise.all(
  [
    { tenant: 'acme', epoch: 1 },
    { tenant: 'acme', epoch: 2 },
    { tenant: 'Acme_2-', epoch: 0xffff_ffff },
  ].map(async (binding, at) => {
    const master = count(50, 32);
    const nonce = count(70 + at, 12);
    const secret = count(at, 32);
    const { kek, id, wrapped } = await wrap(master, binding, secret, nonce);
    return {
      master: hex(master),
      ...binding,
      nonce: hex(nonce),
      secret: hex(secret),
      kek: hex(kek),
      masterId: id,
      wrapped: hex(wrapped),
    };
  }),
);

const secret = count(0, 32);
const place = { tenant: 'acme', epoch: 1, table: 'users', column: 'ssn', row: '7' };
const message = await encrypt(secret, place, utf8('123-45-6789'), count(100, 24));
const good = toText(message);
const altered = (at: number): string => {
  const bytes = message.slice();
  bytes[at] = (bytes[at] ?? 0) ^ 1;
  return toText(bytes);
};
const refused = {
  secret: hex(secret),
  ...place,
  accepted: good,
  refused: [
    { why: 'one bit of the salt', text: altered(6), reason: 'authentication' },
    { why: 'one bit of the commitment', text: altered(30), reason: 'authentication' },
    { why: 'one bit of the body', text: altered(62), reason: 'authentication' },
    { why: 'one bit of the tag', text: altered(message.length - 1), reason: 'authentication' },
    {
      why: 'another version',
      text: toText(joined(Uint8Array.of(0x02), message.slice(1))),
      reason: 'version',
    },
    {
      why: 'another suite',
      text: toText(joined(message.slice(0, 1), Uint8Array.of(0x02), message.slice(2))),
      reason: 'suite',
    },
    {
      why: 'another epoch',
      text: toText(joined(message.slice(0, 2), u32(2), message.slice(6))),
      reason: 'epoch',
    },
    { why: 'the last byte missing', text: toText(message.slice(0, -1)), reason: 'authentication' },
    { why: 'one byte too many', text: toText(joined(message, Uint8Array.of(0))), reason: 'authentication' },
    {
      why: 'one byte short of a header, salt, commitment and tag',
      text: toText(message.slice(0, 77)),
      reason: 'malformed',
    },
    { why: 'padding', text: `${good}=`, reason: 'authentication' },
    { why: 'white space', text: `${good.slice(0, 20)}\n${good.slice(20)}`, reason: 'authentication' },
    { why: 'another prefix', text: `tk2.${good.slice(4)}`, reason: 'malformed' },
    { why: 'nothing after the prefix', text: 'tk1.', reason: 'malformed' },
  ],
};

const write = (name: string, value: unknown): Promise<void> =>
  writeFile(new URL(name, FOLDER), `${JSON.stringify(value, null, 2)}\n`);
await write('crypto-messages.json', messages);
await write('crypto-wrap.json', wraps);
await write('crypto-refused.json', refused);

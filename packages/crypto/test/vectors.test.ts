import { createHmac, createSecretKey, hkdfSync, randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { withTenant } from '@tenantkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { hkdf, intoKey } from '../src/derive.ts';
import { fromText, split, toText } from '../src/format.ts';
import { gcmOpen, gcmSeal } from '../src/gcm.ts';
import { columnKey } from '../src/keys.ts';
import { open, seal } from '../src/seal.ts';
import { localMasterKey } from '../src/wrap.ts';
import { opened } from './support/keyrings.ts';
import * as reference from './support/webcrypto.ts';

const unhex = (text: string): Buffer<ArrayBuffer> => Buffer.from(text, 'hex');

async function vectors<T>(name: string, schema: z.ZodType<T>): Promise<T> {
  return schema.parse(
    JSON.parse(await readFile(new URL(`../../../docs/vectors/${name}`, import.meta.url), 'utf8')),
  );
}

const place = {
  tenant: z.string(),
  epoch: z.number(),
  table: z.string(),
  column: z.string(),
  row: z.string().optional(),
};

describe('HKDF', () => {
  // RFC 5869, appendix A.1 to A.3: the cases with SHA-256.
  it.each([
    {
      name: 'A.1',
      ikm: '0b'.repeat(22),
      salt: '000102030405060708090a0b0c',
      info: 'f0f1f2f3f4f5f6f7f8f9',
      okm: '3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865',
    },
    {
      name: 'A.2',
      ikm: Array.from({ length: 80 }, (_, at) => at.toString(16).padStart(2, '0')).join(''),
      salt: Array.from({ length: 80 }, (_, at) => (at + 0x60).toString(16).padStart(2, '0')).join(''),
      info: Array.from({ length: 80 }, (_, at) => (at + 0xb0).toString(16).padStart(2, '0')).join(''),
      okm: 'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
    },
    {
      name: 'A.3',
      ikm: '0b'.repeat(22),
      salt: '',
      info: '',
      okm: '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    },
  ])('gives the output of RFC 5869 $name', ({ ikm, salt, info, okm }) => {
    const output = hkdf('sha256', createSecretKey(unhex(ikm)), unhex(info), okm.length / 2, unhex(salt));
    expect(output.toString('hex')).toBe(okm);
  });

  // The RFC has no case with SHA-512: compared with its section 2, written out on HMAC.
  it('with SHA-512 is extract and expand of RFC 5869', () => {
    const byHand = (ikm: Uint8Array, salt: Uint8Array, info: Uint8Array, length: number): Buffer => {
      const prk = createHmac('sha512', salt).update(ikm).digest();
      let okm = Buffer.alloc(0);
      for (let i = 1, t = Buffer.alloc(0); okm.length < length; i += 1) {
        t = Buffer.from(createHmac('sha512', prk).update(t).update(info).update(Buffer.of(i)).digest());
        okm = Buffer.concat([okm, t]);
      }
      return okm.subarray(0, length);
    };
    const bytes = (min: number, max: number): fc.Arbitrary<Uint8Array> =>
      fc.uint8Array({ minLength: min, maxLength: max });
    fc.assert(
      fc.property(
        bytes(1, 80),
        bytes(0, 150),
        bytes(0, 200),
        fc.integer({ min: 1, max: 200 }),
        (ikm, salt, info, n) => {
          expect(hkdf('sha512', createSecretKey(ikm), info, n, salt)).toEqual(byHand(ikm, salt, info, n));
        },
      ),
    );
  });
});

describe('a key', () => {
  it('is moved, not copied: the bytes it was made of are wiped', () => {
    const bytes = randomBytes(32);
    const before = Buffer.from(bytes);
    expect(intoKey(bytes).export()).toEqual(before);
    expect(bytes).toEqual(Buffer.alloc(32));
  });
});

describe('AES-256-GCM', () => {
  const AAD = 'feedfacedeadbeeffeedfacedeadbeefabaddad2';
  const KEY = 'feffe9928665731c6d6a8f9467308308'.repeat(2);
  const TEXT =
    'd9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39';
  // McGrew and Viega, The Galois/Counter Mode of Operation, appendix B.
  it.each([
    {
      name: '13',
      key: '00'.repeat(32),
      nonce: '00'.repeat(12),
      aad: '',
      text: '',
      body: '',
      tag: '530f8afbc74536b9a963b4f1c4cb738b',
    },
    {
      name: '14',
      key: '00'.repeat(32),
      nonce: '00'.repeat(12),
      aad: '',
      text: '00'.repeat(16),
      body: 'cea7403d4d606b6e074ec5d3baf39d18',
      tag: 'd0d1c8a799996bf0265b98b5d48ab919',
    },
    {
      name: '16',
      key: KEY,
      nonce: 'cafebabefacedbaddecaf888',
      aad: AAD,
      text: TEXT,
      body: '522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662',
      tag: '76fc6ece0f4e1768cddf8853bb2d551b',
    },
  ])('gives the output of test case $name', ({ key, nonce, aad, text, body, tag }) => {
    const secret = createSecretKey(unhex(key));
    const sealed = gcmSeal(secret, unhex(nonce), unhex(aad), unhex(text));
    expect(sealed.body.toString('hex')).toBe(body);
    expect(sealed.tag.toString('hex')).toBe(tag);
    expect(gcmOpen(secret, unhex(nonce), unhex(aad), sealed)?.toString('hex')).toBe(text);
  });

  it('accepts no tag but a whole one', () => {
    const key = createSecretKey(randomBytes(32));
    const nonce = Buffer.alloc(12);
    const { body, tag } = gcmSeal(key, nonce, Buffer.alloc(0), 'text');
    expect(gcmOpen(key, nonce, Buffer.alloc(0), { body, tag })?.toString()).toBe('text');
    for (let length = 0; length < 16; length += 1) {
      expect(gcmOpen(key, nonce, Buffer.alloc(0), { body, tag: tag.subarray(0, length) })).toBeUndefined();
    }
  });
});

describe('the documented format', () => {
  const messages = z.array(
    z.strictObject({
      name: z.string(),
      secret: z.string(),
      ...place,
      salt: z.string(),
      plaintext: z.string(),
      columnKey: z.string(),
      context: z.string(),
      message: z.string(),
      text: z.string(),
    }),
  );

  it('is what seal writes and open reads, for every vector', async () => {
    const all = await vectors('crypto-messages.json', messages);
    expect(all.length).toBeGreaterThan(0);
    for (const vector of all) {
      const column = columnKey(createSecretKey(unhex(vector.secret)), vector);
      const row = vector.row === undefined ? undefined : Buffer.from(vector.row);
      expect(column.key.export().toString('hex')).toBe(vector.columnKey);
      const sealed = seal(column, row, unhex(vector.plaintext), unhex(vector.salt));
      expect(sealed.toString('hex')).toBe(vector.message);
      expect(toText(sealed)).toBe(vector.text);
      const bytes = fromText(vector.text);
      if (typeof bytes === 'string') throw new Error(bytes);
      const message = split(bytes);
      if (typeof message === 'string') throw new Error(message);
      expect(open(column, row, message)?.toString('hex')).toBe(vector.plaintext);
    }
  });

  it('refuses what the vectors say is refused, for the reason they give', async () => {
    const { secret, accepted, refused, ...field } = await vectors(
      'crypto-refused.json',
      z.strictObject({
        secret: z.string(),
        ...place,
        accepted: z.string(),
        refused: z.array(z.strictObject({ why: z.string(), text: z.string(), reason: z.string() })),
      }),
    );
    const column = columnKey(createSecretKey(unhex(secret)), field);
    const read = (text: string): string => {
      const bytes = fromText(text);
      const message = typeof bytes === 'string' ? bytes : split(bytes);
      if (typeof message === 'string') return message;
      if (message.epoch !== field.epoch) return 'epoch';
      return open(column, Buffer.from(field.row ?? ''), message) === undefined
        ? 'authentication'
        : 'accepted';
    };
    expect(read(accepted)).toBe('accepted');
    for (const { why, text, reason } of refused) expect([why, read(text)]).toEqual([why, reason]);
  });

  it('unwraps every wrapped secret of the vectors', async () => {
    const all = await vectors(
      'crypto-wrap.json',
      z.array(
        z.strictObject({
          master: z.string(),
          tenant: z.string(),
          epoch: z.number(),
          nonce: z.string(),
          secret: z.string(),
          kek: z.string(),
          masterId: z.string(),
          wrapped: z.string(),
        }),
      ),
    );
    for (const { master, masterId, wrapped, secret, tenant, epoch } of all) {
      const key = localMasterKey(createSecretKey(unhex(master)));
      expect(key.id).toBe(masterId);
      const found = await key.unwrap(unhex(wrapped), { tenant, epoch, purpose: 'tenant' });
      expect(found?.export().toString('hex')).toBe(secret);
      expect(
        await key.unwrap(unhex(wrapped), { tenant: `${tenant}x`, epoch, purpose: 'tenant' }),
      ).toBeUndefined();
      expect(
        await key.unwrap(unhex(wrapped), { tenant, epoch: epoch - 1, purpose: 'tenant' }),
      ).toBeUndefined();
    }
  });
});

describe('a second implementation, from the document alone', () => {
  const names = fc.string({ minLength: 1, maxLength: 40, unit: 'grapheme' });

  it('decrypts ours, with nothing but the master key and the key record', async () => {
    const master = randomBytes(32);
    const { cipher, store } = await opened({ master });
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'grapheme' }),
        names,
        names,
        names,
        async (text, table, column, row) => {
          const ours = await withTenant('acme', () => cipher.encryptAsync(text, { table, column, row }));
          const record = await store.read('acme');
          const [epoch] = record?.state === 'live' ? record.epochs : [];
          if (epoch === undefined) throw new Error('no key');
          const wrapped = new Uint8Array(Buffer.from(epoch.wrapped, 'base64url'));
          const secret = await reference.unwrap(
            new Uint8Array(master),
            { tenant: 'acme', epoch: 1 },
            wrapped,
          );
          const field = { tenant: 'acme', epoch: 1, table, column, row };
          const plaintext = await reference.decrypt(secret, field, reference.fromText(ours));
          expect(new TextDecoder('utf-8', { ignoreBOM: true }).decode(plaintext)).toBe(text);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('is decrypted by ours', async () => {
    const master = randomBytes(32);
    const { keyring, cipher, store } = await opened({ master });
    await keyring.create('acme');
    const record = await store.read('acme');
    const [epoch] = record?.state === 'live' ? record.epochs : [];
    if (epoch === undefined) throw new Error('no key');
    const wrapped = new Uint8Array(Buffer.from(epoch.wrapped, 'base64url'));
    const secret = await reference.unwrap(new Uint8Array(master), { tenant: 'acme', epoch: 1 }, wrapped);
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'grapheme' }),
        names,
        names,
        fc.option(names),
        async (text, table, column, row) => {
          const field = { table, column, ...(row === null ? {} : { row }) };
          const theirs = await reference.encrypt(
            secret,
            { tenant: 'acme', epoch: 1, ...field },
            reference.utf8(text),
          );
          const read = await withTenant('acme', () => cipher.decryptAsync(reference.toText(theirs), field));
          expect(read).toBe(text);
        },
      ),
      { numRuns: 40 },
    );
  });

  it('differs from plain hkdfSync only in the documented info', () => {
    const secret = createSecretKey(Buffer.alloc(32, 7));
    const { key } = columnKey(secret, { tenant: 'a', epoch: 1, table: 'b', column: 'c' });
    const info = reference.LP('tenantkit/crypto/column/v1', Uint8Array.of(1), 'a', 'b', 'c');
    expect(key.export()).toEqual(Buffer.from(hkdfSync('sha512', secret, Buffer.alloc(0), info, 32)));
  });
});

import { createCipheriv, createHmac, createSecretKey, randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { LENGTH, join, split, type Message } from '../src/format.ts';
import { gcmOpen, gcmSeal } from '../src/gcm.ts';
import { columnKey, type ColumnKey } from '../src/keys.ts';
import { open } from '../src/seal.ts';
import * as gf from './support/gf128.ts';

/** What somebody who holds both tenants' secrets can derive for a salt of his choice. */
function derived(column: ColumnKey, salt: Buffer): { key: Buffer; commitment: Buffer } {
  const both = createHmac('sha512', column.key).update(salt).update(column.context).digest();
  return { key: both.subarray(0, 32), commitment: both.subarray(32) };
}

/** AES of one block. */
function aes(key: Buffer, block: Buffer): Buffer {
  const cipher = createCipheriv('aes-256-ecb', key, null).setAutoPadding(false);
  return Buffer.concat([cipher.update(block), cipher.final()]);
}

const NONCE = Buffer.alloc(12);
const FIRST_COUNTER = Buffer.concat([NONCE, Buffer.of(0, 0, 0, 1)]);

/**
 * One body and one tag that AES-256-GCM accepts under both keys, each with its own AAD: the tag is linear in
 * every block of the body, so one block can be solved for.
 */
function forTwoKeys(
  keys: readonly [Buffer, Buffer],
  aads: readonly [Buffer, Buffer],
): { body: Buffer; tag: Buffer } {
  const free = randomBytes(16);
  const lengths = (aad: Buffer): bigint => (BigInt(aad.length * 8) << 64n) | BigInt(32 * 8);
  const parts = keys.map((key, which) => {
    const aad = aads[which] ?? Buffer.alloc(0);
    const hashKey = gf.fromBytes(aes(key, Buffer.alloc(16)));
    const mask = gf.fromBytes(aes(key, FIRST_COUNTER));
    const withZero = gf.ghash(hashKey, [...gf.blocksOf(aad), 0n, gf.fromBytes(free), lengths(aad)]);
    // The first block is multiplied by the hash key once for itself and once for each block after it.
    const weight = gf.multiply(hashKey, gf.multiply(hashKey, hashKey));
    return { constant: withZero ^ mask, weight };
  });
  const [a, b] = parts;
  if (a === undefined || b === undefined) throw new Error('two keys');
  const solved = gf.multiply(a.constant ^ b.constant, gf.invert(a.weight ^ b.weight));
  const tag = gf.toBytes(a.constant ^ gf.multiply(solved, a.weight));
  return { body: Buffer.concat([gf.toBytes(solved), free]), tag };
}

describe('the field arithmetic of this test', () => {
  it('inverts, and hashes as GCM does', () => {
    for (let round = 0; round < 8; round += 1) {
      const x = gf.fromBytes(randomBytes(16));
      expect(gf.multiply(x, gf.invert(x))).toBe(gf.ONE);
    }
    const key = randomBytes(32);
    const aad = randomBytes(21);
    const { body, tag } = gcmSeal(createSecretKey(key), NONCE, aad, randomBytes(37));
    const hash = gf.ghash(gf.fromBytes(aes(key, Buffer.alloc(16))), [
      ...gf.blocksOf(aad),
      ...gf.blocksOf(body),
      (BigInt(aad.length * 8) << 64n) | BigInt(body.length * 8),
    ]);
    expect(gf.toBytes(hash ^ gf.fromBytes(aes(key, FIRST_COUNTER)))).toEqual(tag);
  });
});

describe('key commitment', () => {
  const place = { epoch: 1, table: 'users', column: 'ssn' };
  const pairs: readonly (readonly [string, ColumnKey, ColumnKey])[] = (() => {
    const secret = (): ReturnType<typeof createSecretKey> => createSecretKey(randomBytes(32));
    const acme = secret();
    return [
      [
        'two tenants',
        columnKey(acme, { tenant: 'acme', ...place }),
        columnKey(secret(), { tenant: 'acme2', ...place }),
      ],
      [
        'two columns of one tenant',
        columnKey(acme, { tenant: 'acme', ...place }),
        columnKey(acme, { tenant: 'acme', ...place, column: 'note' }),
      ],
      [
        'two epochs of one tenant',
        columnKey(acme, { tenant: 'acme', ...place }),
        columnKey(secret(), { tenant: 'acme', ...place, epoch: 2 }),
      ],
    ];
  })();

  it.each(pairs)('a ciphertext that plain GCM opens under the keys of %s opens under one only', (_, a, b) => {
    const salt = randomBytes(LENGTH.salt);
    const keyOfA = derived(a, salt);
    const keyOfB = derived(b, salt);
    const crafted = forTwoKeys([keyOfA.key, keyOfB.key], [a.context, b.context]);

    // Plain GCM: both keys accept it, and read different texts.
    const asA = gcmOpen(createSecretKey(keyOfA.key), NONCE, a.context, crafted);
    const asB = gcmOpen(createSecretKey(keyOfB.key), NONCE, b.context, crafted);
    expect(asA).toHaveLength(32);
    expect(asB).toHaveLength(32);
    expect(asA).not.toEqual(asB);

    // Ours: whichever commitment it carries, the other key refuses it.
    const framed = (commitment: Buffer): Message => {
      const message = split(join({ epoch: 1, salt, commitment, ...crafted }));
      if (typeof message === 'string') throw new Error(message);
      return message;
    };
    expect(open(a, undefined, framed(keyOfA.commitment))).toEqual(asA);
    expect(open(b, undefined, framed(keyOfA.commitment))).toBeUndefined();
    expect(open(b, undefined, framed(keyOfB.commitment))).toEqual(asB);
    expect(open(a, undefined, framed(keyOfB.commitment))).toBeUndefined();
  });
});

import {
  KeyObject,
  createHmac,
  createPrivateKey,
  createPublicKey,
  createSecretKey,
  generateKeyPairSync,
  sign,
  type JsonWebKey,
} from 'node:crypto';
import { ConfigError } from '@tenantkit/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { lengthPrefixed } from '../src/bytes.ts';
import { readKey } from '../src/ed25519.ts';
import { signHeader, verifyHeader } from '../src/header.ts';
import { queueKeyRing, signerOf } from '../src/keys.ts';
import { parseTenantOptions } from '../src/options.ts';
import { BOUND, PAIRS, SECRETS, reasonOf } from './header-support.ts';

const [{ publicKey, privateKey }] = PAIRS;
const CLAIMS = { tenant: 'acme', issuedAt: 1 };
const P = 2n ** 255n - 19n;
const ORDER = 2n ** 252n + 27_742_317_777_372_353_535_851_937_790_883_648_493n;

const littleEndian = (value: bigint): Buffer =>
  Buffer.from(Buffer.from(value.toString(16).padStart(64, '0'), 'hex').toReversed());
const fromLittleEndian = (bytes: Buffer): bigint =>
  BigInt(`0x${Buffer.from(bytes.toReversed()).toString('hex')}`);
const jwkOf = (raw: Buffer): JsonWebKey => ({ kty: 'OKP', crv: 'Ed25519', x: raw.toString('base64url') });
const pem = (key: KeyObject): string =>
  key.export({ format: 'pem', type: key.type === 'public' ? 'spki' : 'pkcs8' }).toString();
const raw = (key: KeyObject): Buffer => Buffer.from(key.export({ format: 'jwk' }).x ?? '', 'base64url');

/** The eight points of small order, in both spellings of their sign: y = ±1, 0, and ± what solves d·y⁴ + 2·y² = 1. */
const Y8 = 0x7a03ac9277fdc74ec6cc392cfa53202a0f67100d760b3cba4fd84d3d706a17c7n;
const SMALL = [0n, 1n, P - 1n, Y8, P - Y8].flatMap((y) => [y, y + 2n ** 255n]);

describe('an Ed25519 key', () => {
  it('may be a KeyObject, PEM text or a JWK, and is the same in each form', () => {
    for (const [half, key] of [
      ['public', publicKey],
      ['private', privateKey],
    ] as const) {
      const jwk = key.export({ format: 'jwk' });
      const forms = [
        key,
        pem(key),
        ` ${pem(key).replaceAll('\n', '\r\n')}\n`,
        jwk,
        { ...jwk, alg: 'EdDSA', use: 'sig', kid: 'another', ext: true },
        { ...jwk, alg: 'Ed25519', key_ops: ['sign', 'verify'] },
      ];
      for (const form of forms) {
        const read = readKey(half, form);
        expect(read).toBeInstanceOf(KeyObject);
        expect((read as KeyObject).equals(key)).toBe(true);
        expect((read as KeyObject).type).toBe(half);
      }
    }
  });

  it('is refused when it is the other half: a worker would be able to sign, and nobody would notice', () => {
    for (const form of [privateKey, pem(privateKey), privateKey.export({ format: 'jwk' })]) {
      expect(readKey('public', form)).toBe('holds a private key, which belongs under privateKey');
    }
    for (const form of [publicKey, pem(publicKey), publicKey.export({ format: 'jwk' })]) {
      expect(readKey('private', form)).toBe('holds a public key, which belongs under publicKey');
    }
  });

  it('is refused when it is of another kind', () => {
    const others = [
      generateKeyPairSync('ed448'),
      generateKeyPairSync('x25519'),
      generateKeyPairSync('ec', { namedCurve: 'P-256' }),
      generateKeyPairSync('rsa', { modulusLength: 2_048 }),
    ];
    for (const pair of others) {
      for (const half of ['public', 'private'] as const) {
        const key = pair[`${half}Key`];
        for (const form of [key, pem(key), key.export({ format: 'jwk' })])
          expect(readKey(half, form)).toBe('must be an Ed25519 key');
      }
    }
    expect(readKey('public', createSecretKey(Buffer.alloc(32, 1)))).toBe('must be an Ed25519 key');
  });

  it('is refused in a form that nobody means', () => {
    const jwk = privateKey.export({ format: 'jwk' });
    const read = (form: unknown): unknown => readKey('private', form);
    const cryptoKey = publicKey.toCryptoKey('Ed25519', true, ['verify']);
    for (const none of [
      undefined,
      null,
      7,
      true,
      [],
      () => jwk,
      Buffer.from(pem(privateKey)),
      raw(publicKey),
      {},
      cryptoKey,
      { ...jwk, kty: undefined },
    ])
      expect(read(none)).toBe('must be a KeyObject, PEM text or a JWK');
    expect((readKey('public', KeyObject.from(cryptoKey)) as KeyObject).equals(publicKey)).toBe(true);
    const encrypted = privateKey
      .export({ format: 'pem', type: 'pkcs8', cipher: 'aes-256-cbc', passphrase: 'x' })
      .toString();
    expect(read(encrypted)).toBe('is encrypted: open it with createPrivateKey of node:crypto');
    const block = 'must be PEM text with one block, BEGIN PRIVATE KEY';
    for (const text of [
      '',
      'a secret of the tests, 32 bytes or more',
      pem(privateKey) + pem(privateKey),
      `x${pem(privateKey)}`,
      `${pem(privateKey)}x`,
      pem(privateKey).replaceAll('PRIVATE', 'EC PRIVATE'),
      pem(privateKey).replace('BEGIN PRIVATE', 'BEGIN PUBLIC'),
      pem(publicKey).replaceAll('PUBLIC KEY', 'CERTIFICATE'),
    ]) {
      expect(read(text)).toBe(block);
    }
    expect(readKey('public', 'x')).toBe('must be PEM text with one block, BEGIN PUBLIC KEY');
    expect(read('-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----')).toBe(
      'must be an Ed25519 key',
    );
    for (const members of [
      { kty: 'EC' },
      { crv: 'Ed448' },
      { x: undefined },
      { x: 7 },
      { x: `${jwk.x}=` },
      { x: (jwk.x ?? '').slice(1) },
      { x: `${jwk.x}AAAA` },
      { d: '' },
      { d: `${jwk.d} ` },
      { d: null },
    ]) {
      expect(read({ ...jwk, ...members }), JSON.stringify(Object.keys(members))).toBe(
        'must be an Ed25519 key',
      );
    }
    expect(read({ ...jwk, alg: 'ES256' })).toBe('is a JWK for another algorithm');
    for (const members of [{ use: 'enc' }, { key_ops: ['verify'] }, { key_ops: 'sign' }, { key_ops: [] }])
      expect(read({ ...jwk, ...members })).toBe('is a JWK whose use or key_ops do not let it sign');
    expect(readKey('public', { ...publicKey.export({ format: 'jwk' }), key_ops: ['sign'] })).toBe(
      'is a JWK whose use or key_ops do not let it verify',
    );
  });

  it('is refused as a JWK whose halves are of two pairs, which Node takes', () => {
    const jwk = privateKey.export({ format: 'jwk' });
    const mixed = { ...jwk, x: PAIRS[1].publicKey.export({ format: 'jwk' }).x ?? '' };
    expect(createPrivateKey({ format: 'jwk', key: mixed }).type).toBe('private');
    expect(readKey('private', mixed)).toBe('is a JWK whose two halves do not belong together');
  });

  it('is read once, whatever its getters answer later', () => {
    const jwk = publicKey.export({ format: 'jwk' });
    let reads = 0;
    const changing = {
      ...jwk,
      get x(): string {
        reads += 1;
        return (reads === 1 ? jwk : PAIRS[1].publicKey.export({ format: 'jwk' })).x ?? '';
      },
    };
    expect((readKey('public', changing) as KeyObject).equals(publicKey)).toBe(true);
    expect(reads).toBe(1);
  });

  it.each(SMALL)('is refused when it is of small order: y = %s', (y) => {
    const jwk = jwkOf(littleEndian(y));
    // Node takes it.
    expect(createPublicKey({ format: 'jwk', key: jwk }).asymmetricKeyType).toBe('ed25519');
    expect(readKey('public', jwk)).toMatch(/^is no point/);
  });

  it('is refused when it is not the one spelling of a point of the curve', () => {
    const is = (y: bigint): boolean => typeof readKey('public', jwkOf(littleEndian(y))) !== 'string';
    // The first small y on the curve; 2 is none, and p + 3 is 3 once more.
    expect([2n, 3n, 4n, 5n, 6n, 7n, 8n].map((y) => is(y))).toEqual(
      [2n, 3n, 4n, 5n, 6n, 7n, 8n].map((y) => isOnCurve(y)),
    );
    expect([3n, 4n].map(is)).toEqual([true, true]);
    for (let more = 0n; more < 19n; more += 1n) expect(is(P + more), `p + ${more}`).toBe(false);
    expect(is(2n ** 256n - 1n)).toBe(false);
  });

  it('of a real pair is never refused', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 32, maxLength: 32 }), (seed) => {
        const der = Buffer.concat([Buffer.from('302e020100300506032b657004220420', 'hex'), seed]);
        const made = createPublicKey(createPrivateKey({ key: der, format: 'der', type: 'pkcs8' }));
        expect(readKey('public', made)).toBe(made);
      }),
      { numRuns: 30 },
    );
  });
});

/** By Euler's criterion, with the equation as RFC 8032 has it: a way of its own. */
function isOnCurve(y: bigint): boolean {
  const power = (base: bigint, exponent: bigint): bigint => {
    if (exponent === 0n) return 1n;
    const half = power((base * base) % P, exponent / 2n);
    return exponent % 2n === 1n ? (half * base) % P : half;
  };
  const d =
    37_095_705_934_669_439_343_138_083_508_754_565_189_542_113_879_843_219_016_388_785_533_085_940_283_555n;
  const x2 = (((y * y - 1n) % P) * power((d * y * y + 1n) % P, P - 2n)) % P;
  return power(x2, (P - 1n) / 2n) === 1n;
}

describe('a ring of both kinds', () => {
  const secret = { ...SECRETS[0], kid: 'mac' };
  const pair = { kid: 'pair', privateKey };
  const ring = queueKeyRing([pair, secret], 'bull', 'mail');
  const ofSecret = queueKeyRing([secret], 'bull', 'mail');
  const reason = (header: string): string => reasonOf(() => verifyHeader(ring, header, BOUND));
  /** What an Ed25519 key signs: the header up to its signature, and the job. */
  const message = (kid: string): { readonly signed: string; readonly bytes: Buffer } => {
    const signed = `v1.${kid}.${Buffer.from('["acme",null,null,1]').toString('base64url')}`;
    const { prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data } = BOUND;
    const rest = [prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data];
    return { signed, bytes: lengthPrefixed(['tenantkit/queue/v1', signed, ...rest]) };
  };
  const header = signHeader(ring, CLAIMS, BOUND);
  const signature = Buffer.from(header.split('.')[3] ?? '', 'base64url');
  const withSignature = (bytes: Buffer): string =>
    [...header.split('.').slice(0, 3), bytes.toString('base64url')].join('.');

  it('verifies each header with the key that it names, as this key does it', () => {
    expect(verifyHeader(ring, header, BOUND)).toEqual(CLAIMS);
    expect(verifyHeader(ring, signHeader(ofSecret, CLAIMS, BOUND), BOUND)).toEqual(CLAIMS);
    const { signed, bytes } = message('pair');
    expect(`${signed}.${sign(null, bytes, privateKey).toString('base64url')}`).toBe(header);
  });

  it('refuses a header of the one kind under the name of the other', () => {
    const mac = signHeader(ofSecret, CLAIMS, BOUND);
    expect(reason(mac.replace('.mac.', '.pair.'))).toBe('malformed');
    expect(reason(header.replace('.pair.', '.mac.'))).toBe('malformed');
  });

  it('refuses a MAC that was made with the public key as its secret', () => {
    for (const known of [
      raw(publicKey),
      pem(publicKey),
      pem(publicKey).trim(),
      JSON.stringify(publicKey.export({ format: 'jwk' })),
    ]) {
      const forged = queueKeyRing([{ kid: 'pair', secret: known }], 'bull', 'mail');
      expect(reason(signHeader(forged, CLAIMS, BOUND))).toBe('malformed');
      const { signed, bytes } = message('pair');
      const mac = createHmac('sha256', known).update(bytes).digest();
      for (const text of [mac, Buffer.concat([mac, mac])])
        expect(reason(`${signed}.${text.toString('base64url')}`)).toMatch(/^(?:malformed|mismatch)$/);
    }
  });

  it('refuses a signature that is truncated, longer, empty or zero', () => {
    for (const bytes of [
      signature.subarray(0, 63),
      signature.subarray(0, 32),
      Buffer.concat([signature, Buffer.alloc(1)]),
      Buffer.alloc(0),
    ])
      expect(reason(withSignature(bytes))).toBe('malformed');
    expect(reason(withSignature(Buffer.alloc(64)))).toBe('mismatch');
    expect(reason(withSignature(Buffer.concat([littleEndian(1n), Buffer.alloc(32)])))).toBe('mismatch');
  });

  it('refuses the other spellings of a signature: S plus the order, R with another sign', () => {
    const s = fromLittleEndian(signature.subarray(32));
    for (let times = 1n; s + times * ORDER < 2n ** 256n; times += 1n) {
      const malleable = Buffer.concat([signature.subarray(0, 32), littleEndian(s + times * ORDER)]);
      expect(reason(withSignature(malleable))).toBe('mismatch');
    }
    const flipped = Buffer.from(signature);
    flipped[31] = (flipped[31] ?? 0) ^ 0x80;
    expect(reason(withSignature(flipped))).toBe('mismatch');
    // The order itself, and what is right.
    expect(reason(withSignature(Buffer.concat([signature.subarray(0, 32), littleEndian(ORDER)])))).toBe(
      'mismatch',
    );
    expect(
      verifyHeader(ring, withSignature(Buffer.concat([signature.subarray(0, 32), littleEndian(s)])), BOUND),
    ).toEqual(CLAIMS);
  });

  it('refuses what the same key has signed for another purpose', () => {
    const { signed, bytes } = message('pair');
    const { prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data } = BOUND;
    const without = lengthPrefixed([
      signed,
      prefix,
      queue,
      name,
      id,
      scheduler,
      parentKey,
      parent,
      deduplication,
      options,
      data,
    ]);
    for (const other of [
      without,
      Buffer.from(signed),
      bytes.subarray(1),
      Buffer.concat([bytes, Buffer.alloc(4)]),
    ]) {
      expect(reason(`${signed}.${sign(null, other, privateKey).toString('base64url')}`)).toBe('mismatch');
    }
  });

  it('binds queue and prefix, though all queues have the same key', () => {
    for (const elsewhere of [{ queue: 'other' }, { prefix: 'elsewhere' }]) {
      const bound = { ...BOUND, ...elsewhere };
      const there = signHeader(queueKeyRing([pair], bound.prefix, bound.queue), CLAIMS, bound);
      expect(reason(there)).toBe('mismatch');
      expect(verifyHeader(queueKeyRing([pair], bound.prefix, bound.queue), there, bound)).toEqual(CLAIMS);
    }
  });

  it('of public keys alone verifies, and cannot sign', () => {
    const reader = queueKeyRing([{ kid: 'pair', publicKey }], 'bull', 'mail');
    expect(verifyHeader(reader, header, BOUND)).toEqual(CLAIMS);
    expect(() => signHeader(reader, CLAIMS, BOUND)).toThrow(/^Invalid configuration of queue\.sign: /);
    expect(() => signerOf(reader, 'Queue')).toThrow(
      /^Invalid configuration of queue.Queue: tenant.signingKeys.0 has a public key alone, and cannot sign\. Put/,
    );
    // The first signs, also where another could.
    const second = queueKeyRing([{ kid: 'pair', publicKey }, secret], 'bull', 'mail');
    expect(() => signHeader(second, CLAIMS, BOUND)).toThrow(ConfigError);
    expect(signerOf(ring, 'Queue').kid).toBe('pair');
    expect(signerOf(ofSecret, 'Queue').kid).toBe('mac');
  });
});

describe('the option signingKeys', () => {
  const parse = (...signingKeys: readonly unknown[]): unknown => parseTenantOptions({ signingKeys });
  const problem = (...signingKeys: readonly unknown[]): string => {
    try {
      parse(...signingKeys);
    } catch (error) {
      if (error instanceof ConfigError) return error.message;
      throw error;
    }
    throw new Error('it was accepted');
  };

  it('takes secrets and both halves of a pair, in one ring', () => {
    const keys = [
      { kid: 'a', secret: 'x'.repeat(32) },
      { kid: 'b', secret: new Uint8Array(32) },
      { kid: 'c', privateKey },
      { kid: 'd', publicKey: pem(publicKey), secret: undefined, privateKey: undefined },
      { kid: 'e'.repeat(32), publicKey: publicKey.export({ format: 'jwk' }) },
    ];
    expect(parse(...keys)).toMatchObject({ signingKeys: keys.map(({ kid }) => ({ kid })) });
    expect(parse({ kid: 'k', secret: 'é'.repeat(16) })).toMatchObject({ signingKeys: [{ kid: 'k' }] });
    expect(parseTenantOptions({ signingKeys: [keys[0]], names: 't.{tenant}.' })).toEqual({
      signingKeys: [keys[0]],
      names: 't.{tenant}.',
      fence: undefined,
    });
  });

  it('keeps a copy of a secret that its owner may wipe', () => {
    const bytes = Buffer.alloc(32, 7);
    const { signingKeys } = parseTenantOptions({ signingKeys: [{ kid: 'k', secret: bytes }] });
    bytes.fill(0);
    expect(signingKeys).toEqual([{ kid: 'k', secret: new Uint8Array(32).fill(7) }]);
  });

  it('says what is wrong, and where, and never what was given', () => {
    const one = { kid: 'k', secret: 'x'.repeat(32) };
    expect(problem()).toMatch(/^Invalid configuration of queue\.options: tenant\.signingKeys/);
    expect(problem({ ...one, secret: 'é'.repeat(15) + 'x' })).toContain(
      'signingKeys.0.secret: needs at least 32 bytes',
    );
    expect(problem({ ...one, secret: new Uint8Array(31) })).toContain('needs at least 32 bytes');
    expect(problem({ ...one, secret: 7 })).toContain('signingKeys.0.secret: must be text or a Uint8Array');
    for (const kid of ['', 'a b', 'x'.repeat(33), 'é', 'a\n'])
      expect(problem({ ...one, kid })).toContain(
        'signingKeys.0.kid: must be 1 to 32 characters of A-Z a-z 0-9 _ -',
      );
    expect(problem(one, { ...one })).toContain('signingKeys: two keys have the same kid');
    expect(problem(one, { kid: 'k', publicKey })).toContain('two keys have the same kid');
    for (const bad of [
      { kid: 'k' },
      { ...one, publicKey },
      { ...one, privateKey },
      { kid: 'k', privateKey, publicKey },
    ])
      expect(problem(one, { ...bad, kid: 'k2' })).toContain(
        'signingKeys.1: needs exactly one of secret, privateKey and publicKey',
      );
    expect(problem({ kid: 'k', publicKey: privateKey })).toContain(
      'signingKeys.0.publicKey: holds a private key',
    );
    expect(problem({ kid: 'k', privateKey: publicKey })).toContain(
      'signingKeys.0.privateKey: holds a public key',
    );
    expect(problem({ ...one, expires: 1 })).toContain('unknown option');
    for (const text of [pem(publicKey), ` \n${pem(privateKey)}`, Buffer.from(pem(publicKey))])
      expect(problem({ kid: 'k', secret: text })).toContain(
        'is a PEM text: put it under privateKey or publicKey',
      );
    const jwk = { ...privateKey.export({ format: 'jwk' }), alg: 'none' };
    const shown = [
      problem({ kid: 'k', privateKey: jwk }),
      problem({ kid: 'k', secret: 'short-secret' }),
    ].join();
    for (const secret of [jwk.d ?? '', jwk.x ?? '', 'short-secret']) expect(shown).not.toContain(secret);
  });
});

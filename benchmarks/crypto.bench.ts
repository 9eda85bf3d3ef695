import { createCipheriv, createDecipheriv, createSecretKey, randomBytes, randomFillSync } from 'node:crypto';
import { withTenant } from '@tenantkit/core';
import { FieldCipher, Keyring, memoryKeyStore } from '@tenantkit/crypto';

/** Sizes of the plaintext in bytes, and how many calls one round makes. */
const SIZES = [
  { name: '32 B', bytes: 32, calls: 4_000 },
  { name: '1 KiB', bytes: 1_024, calls: 4_000 },
  { name: '64 KiB', bytes: 65_536, calls: 250 },
] as const;

const ROUNDS = 15;

const FIELD = { table: 'users', column: 'note', row: 7 } as const;

/** Medians over the rounds, in microseconds per call. */
interface Result {
  readonly size: string;
  readonly operation: 'encrypt' | 'decrypt';
  readonly raw: number;
  readonly ours: number;
}

// Raw AES-256-GCM of node:crypto (one KeyObject, nonces from a pool, base64url text) against FieldCipher, both
// from text to text. Rounds are interleaved, so that a busy machine slows both.
const keyring = await Keyring.open({ master: randomBytes(32), store: memoryKeyStore() });
const cipher = new FieldCipher(keyring);
const byHand = rawCipher();
const results = await withTenant('bench', () =>
  keyring.withKeys(() =>
    SIZES.flatMap(({ name, bytes, calls }) => {
      const text = randomBytes(bytes / 2).toString('hex');
      const theirs = byHand.encrypt(text);
      const ours = cipher.encrypt(text, FIELD);
      return [
        compare(name, 'encrypt', calls, {
          raw: () => byHand.encrypt(text),
          ours: () => cipher.encrypt(text, FIELD),
        }),
        compare(name, 'decrypt', calls, {
          raw: () => byHand.decrypt(theirs),
          ours: () => cipher.decrypt(ours, FIELD),
        }),
      ];
    }),
  ),
);
keyring.close();

console.table(
  results.map(({ size, operation, raw, ours }) => ({
    size,
    operation,
    'raw µs': raw.toFixed(2),
    'ours µs': ours.toFixed(2),
    'ours / raw': (ours / raw).toFixed(2),
  })),
);

function compare(
  size: string,
  operation: Result['operation'],
  calls: number,
  { raw, ours }: { readonly raw: () => string; readonly ours: () => string },
): Result {
  const times = { raw: [] as number[], ours: [] as number[] };
  time(raw, calls);
  time(ours, calls);
  for (let round = 0; round < ROUNDS; round += 1) {
    times.raw.push(time(raw, calls));
    times.ours.push(time(ours, calls));
  }
  return { size, operation, raw: median(times.raw), ours: median(times.ours) };
}

/** What a team writes by hand: no tenant, no binding to a field, no commitment. */
function rawCipher(): { encrypt(text: string): string; decrypt(text: string): string } {
  const key = createSecretKey(randomBytes(32));
  const pool = Buffer.alloc(12 * 680);
  let used = pool.length;
  const options = { authTagLength: 16 };
  return {
    encrypt(text) {
      if (used === pool.length) {
        randomFillSync(pool);
        used = 0;
      }
      const nonce = pool.subarray(used, (used += 12));
      const cipher = createCipheriv('aes-256-gcm', key, nonce, options);
      const body = cipher.update(text, 'utf8');
      cipher.final();
      return Buffer.concat([nonce, body, cipher.getAuthTag()]).toString('base64url');
    },
    decrypt(text) {
      const bytes = Buffer.from(text, 'base64url');
      const decipher = createDecipheriv('aes-256-gcm', key, bytes.subarray(0, 12), options);
      decipher.setAuthTag(bytes.subarray(-16));
      const plaintext = decipher.update(bytes.subarray(12, -16));
      decipher.final();
      return plaintext.toString('utf8');
    },
  };
}

function time(work: () => string, calls: number): number {
  const start = performance.now();
  for (let call = 0; call < calls; call += 1) work();
  return ((performance.now() - start) * 1_000) / calls;
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;
}

import { execFile } from 'node:child_process';
import { createPublicKey } from 'node:crypto';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { canonicalJson, storable } from '../src/canonical.ts';
import { HEADER, signHeader, type JobClaims } from '../src/header.ts';
import { jobNames } from '../src/names.ts';
import { verifyJob } from '../src/verify.ts';
import { KINDS, PAIRS, SECRETS, oddText, reasonOf } from './header-support.ts';
import { VECTORS, claimsOf, hashOf } from './header-vectors.ts';

/** What the Python reader is asked about one job. */
interface Question {
  readonly keys: readonly {
    readonly kid: string;
    readonly secretHex?: string;
    readonly publicKeyHex?: string;
  }[];
  readonly prefix: string;
  readonly queue: string;
  readonly id: string;
  readonly hash: Readonly<Record<string, string>>;
}
const answers = z.array(
  z.union([
    z.strictObject({
      claims: z.tuple([z.string(), z.string().nullable(), z.string().nullable(), z.number()]),
    }),
    z.strictObject({ reason: z.string() }),
    z.strictObject({ sound: z.boolean() }),
  ]),
);

/**
 * Asks the reader that is written in Python, all at once. Python is needed, as Redis and OpenSSL are: it comes with every
 * system that has the servers of the tests, and a test that passed without it would say what it has not seen.
 */
function ask(
  questions: readonly (Question | { readonly soundHex: string })[],
): Promise<z.infer<typeof answers>> {
  const script = fileURLToPath(new URL('header-reader.py', import.meta.url));
  return new Promise((resolve, reject) => {
    const child = execFile('python3', [script], { maxBuffer: 2 ** 26 }, (error, stdout) => {
      if (error !== null) reject(new Error('python3 3.8 or newer is needed for this test', { cause: error }));
      else resolve(answers.parse(JSON.parse(stdout)));
    });
    // What goes wrong while it is written to is in its exit code as well.
    child.stdin?.on('error', () => undefined).end(Buffer.from(JSON.stringify(questions), 'utf8'));
  });
}

const asList = ({ tenant, subject, actor, issuedAt }: JobClaims) => ({
  claims: [tenant, subject ?? null, actor ?? null, issuedAt],
});

describe('a reader in Python', () => {
  const [firstMac] = VECTORS.vectors;
  const [firstPair] = VECTORS.ed25519.vectors;
  const all = [...VECTORS.vectors, ...VECTORS.ed25519.vectors];
  const bad = [
    ...VECTORS.invalid.map((one) => ({ ...one, of: firstMac })),
    ...VECTORS.ed25519.invalid.map((one) => ({ ...one, of: firstPair })),
  ];
  const question = (v: (typeof all)[number], header = v.header): Question => ({
    keys: [
      'secretHex' in v
        ? { kid: v.kid, secretHex: v.secretHex }
        : { kid: v.kid, publicKeyHex: v.publicKeyHex },
    ],
    prefix: v.prefix,
    queue: v.queue,
    id: v.id,
    hash: hashOf(v, header),
  });
  let given: z.infer<typeof answers>;
  beforeAll(async () => {
    given = await ask([
      ...all.map((v) => question(v)),
      ...bad.map(({ of, header }) => question(of, header)),
      ...VECTORS.ed25519.refusedKeys.map(({ publicKeyHex }) => ({ soundHex: publicKeyHex })),
      ...VECTORS.ed25519.vectors.map(({ publicKeyHex }) => ({ soundHex: publicKeyHex })),
    ]);
  });

  it.each(all.map((v, at) => ({ ...v, at })))('accepts $kid: $comment', (v) => {
    expect(given[v.at]).toEqual(asList(claimsOf(v)));
  });

  it.each(bad.map((one, at) => ({ ...one, at: at + all.length })))('refuses: $comment', ({ reason, at }) => {
    expect(given[at]).toEqual({ reason });
  });

  it('refuses the same public keys', () => {
    const sound = given.slice(all.length + bad.length);
    expect(sound).toEqual([
      ...VECTORS.ed25519.refusedKeys.map(() => ({ sound: false })),
      ...VECTORS.ed25519.vectors.map(() => ({ sound: true })),
    ]);
  });
});

const id = fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/);
const wellFormed = fc.string({ unit: 'grapheme', maxLength: 12 });
const claims: fc.Arbitrary<JobClaims> = fc.record(
  {
    tenant: id,
    subject: id,
    actor: oddText({ minLength: 1, maxLength: 40 }),
    issuedAt: fc.maxSafeInteger(),
  },
  { requiredKeys: ['tenant', 'issuedAt'] },
);
const number = fc
  .oneof(
    fc.integer(),
    fc.double({ noNaN: true, noDefaultInfinity: true }),
    fc.constantFrom(1e21, 1e20, 1e-7, 1e-6, 5e-324),
  )
  .map(storable);
const options = fc.dictionary(
  wellFormed.filter((key) => key !== '__proto__' && key !== HEADER),
  fc.oneof(
    wellFormed,
    number,
    fc.boolean(),
    fc.constant(null),
    fc.array(number, { maxLength: 3 }),
    fc.dictionary(id, number, { maxKeys: 2 }),
  ),
  { maxKeys: 5 },
);
/** How a stored job is altered, with text in hand; the first leaves it as it is. */
const ALTERATIONS: readonly ((hash: Record<string, string>, text: string) => unknown)[] = [
  () => undefined,
  (hash, text) => (hash['name'] = text),
  (hash, text) => (hash['data'] = text),
  (hash, text) => (hash['rjk'] = text),
  (hash, text) => (hash['deid'] = text),
  (hash, text) => (hash['parentKey'] = text),
  (hash, text) => (hash['parent'] = text),
  (hash, text) => (hash['parent'] = JSON.stringify({ id: text, n: 1.5, none: null })),
  (hash, text) => (hash['opts'] = text),
  (hash) => delete hash['opts'],
  (hash) => delete hash['data'],
  (hash, text) => (hash['opts'] = hash['opts']?.replace('{', `{"more":${JSON.stringify(text)},`) ?? ''),
  (hash) => (hash['opts'] = hash['opts']?.replace('{', '{"more":null,') ?? ''),
  (hash) => (hash['opts'] = hash['opts']?.replace('{', '{"more":1e999,') ?? ''),
  (hash) => (hash['opts'] = hash['opts']?.replace('{', '{"more":123456789012345,') ?? ''),
  (hash) => (hash['opts'] = hash['opts']?.replace('v1.', 'v2.') ?? ''),
  (hash) => (hash['opts'] = hash['opts']?.replace('.k1.', '.k2.') ?? ''),
  (hash) => (hash['opts'] = hash['opts']?.replace('.k1.', '.k9.') ?? ''),
  (hash) => (hash['opts'] = hash['opts']?.replace('.k1.', '.k1..') ?? ''),
  (hash) => (hash['opts'] = ` ${hash['opts']} `),
  (hash) => (hash['opts'] = '[]'),
  (hash) => (hash['opts'] = '{}'),
  (hash) => (hash['opts'] = '{"tk!":1}'),
];

it.each(KINDS)(
  'both readers answer the same about jobs and altered jobs, $kind',
  async ({ kind, ring: ringOf }) => {
    const ring = ringOf();
    const keys = SECRETS.map(({ kid, secret }, at) =>
      kind === 'HMAC'
        ? { kid, secretHex: Buffer.from(secret).toString('hex') }
        : {
            kid,
            publicKeyHex: Buffer.from(
              createPublicKey(PAIRS[at === 0 ? 0 : 1].privateKey).export({ format: 'jwk' }).x ?? '',
              'base64url',
            ).toString('hex'),
          },
    );
    const verifier = { prefix: 'bull', queue: 'mail', ring, names: jobNames() };
    const questions: Question[] = [];
    const ours: unknown[] = [];
    const cases = fc.sample(
      fc.record({
        said: claims,
        given: options,
        name: wellFormed,
        data: fc.json(),
        key: wellFormed,
        text: wellFormed,
        at: fc.nat(ALTERATIONS.length - 1),
      }),
      { numRuns: kind === 'HMAC' ? 600 : 150, seed: 7 },
    );
    for (const { said, given, name, data, key, text, at } of cases) {
      const id = `${said.tenant}~${key}`;
      const header = signHeader(ring, said, {
        prefix: 'bull',
        queue: 'mail',
        name,
        id,
        scheduler: '',
        parentKey: '',
        parent: '',
        deduplication: '',
        options: canonicalJson(given),
        data,
      });
      const hash: Record<string, string> = {
        name,
        data,
        opts: JSON.stringify({ ...given, [HEADER]: header }),
      };
      ALTERATIONS[at]?.(hash, text);
      questions.push({ keys, prefix: 'bull', queue: 'mail', id, hash });
      ours.push(verdict(() => verifyJob(verifier, hash, id, said.tenant)));
    }
    const theirs = await ask(questions);
    for (const [at, answer] of theirs.entries())
      expect(answer, JSON.stringify(questions[at])).toEqual(ours[at]);
    const seen = new Set(ours.map((one) => (one as { reason?: string }).reason ?? 'accepted'));
    expect([...seen].toSorted()).toEqual(['accepted', 'malformed', 'mismatch', 'missing', 'unknownKey']);
  },
);

function verdict(call: () => JobClaims): unknown {
  let accepted: JobClaims | undefined;
  try {
    accepted = call();
  } catch {
    return { reason: reasonOf(call) };
  }
  return asList(accepted);
}

import { createHmac, createPrivateKey, generateKeyPairSync, sign } from 'node:crypto';
import type { SignatureReason } from '@tenantkit/core';
import { lengthPrefixed } from '../src/bytes.ts';
import { canonicalJson } from '../src/canonical.ts';
import { HEADER, signHeader, type JobClaims } from '../src/header.ts';
import { queueKeyRing, type QueueKeyRing } from '../src/keys.ts';
import {
  optionsOf,
  partsOf,
  withBit,
  withClaim,
  withFields,
  withHeader,
  withOptions,
  withParts,
  without,
  type Stored,
} from './attacks-support.ts';
import { PAIRS, SECRETS } from './header-support.ts';

/** The two kinds of key, each under a name of its own: the worker has both in one ring. */
const [{ secret }] = SECRETS;
const [{ privateKey, publicKey }, { privateKey: strangersKey }] = PAIRS;
export const MAKERS = { mac: [{ kid: 'mac', secret }], pair: [{ kid: 'pair', privateKey }] } as const;
export const RUNNER = [
  { kid: 'pair', publicKey },
  { kid: 'mac', secret },
  { kid: 'old', secret: SECRETS[1].secret },
] as const;

/** Which key has signed a job. */
export type Made = keyof typeof MAKERS;

/** Where a job is signed for; by default where it will lie. */
interface Place {
  readonly prefix?: string;
  readonly queue?: string;
  readonly ring?: QueueKeyRing;
  readonly tenant?: string;
}

const ringOf = (made: Made, prefix: string, queue: string): QueueKeyRing =>
  queueKeyRing(MAKERS[made], prefix, queue);
const rings = { mac: ringOf('mac', 'bull', 'mail'), pair: ringOf('pair', 'bull', 'mail') };

/** A job as a genuine producer stores it, for `bull:mail`. */
export function craft(made: Made, id: string, place: Place = {}): Stored {
  const { prefix = 'bull', queue = 'mail', tenant = id.split('~')[0] ?? '' } = place;
  const ring =
    place.ring ?? (prefix === 'bull' && queue === 'mail' ? rings[made] : ringOf(made, prefix, queue));
  const claims: JobClaims = { tenant, subject: 'p1', actor: 'ada', issuedAt: Date.now() };
  const options = { attempts: 3, jobId: id, removeOnFail: false };
  const data = JSON.stringify({ secret: `of ${id}` });
  const header = signHeader(ring, claims, {
    prefix,
    queue,
    name: 'n',
    id,
    scheduler: '',
    parentKey: '',
    parent: '',
    deduplication: '',
    options: canonicalJson(options),
    data,
  });
  const opts = JSON.stringify({ ...options, [HEADER]: header });
  return {
    prefix: 'bull',
    queue: 'mail',
    id,
    hash: { name: 'n', data, opts, timestamp: '1', delay: '0', priority: '0' },
  };
}

interface Forgery {
  readonly reason: SignatureReason;
  /** @param n - different for each forgery */
  readonly forge: (job: Stored, made: Made, n: number) => Stored;
}

const text = (job: Stored, change: (header: string) => unknown): Stored =>
  withHeader(job, change(partsOf(job).join('.')));
const raw = (job: Stored, change: (opts: string) => string): Stored =>
  withFields(job, { opts: change(job.hash['opts'] ?? '') });
const sealed = (job: Stored, signature: Uint8Array): Stored =>
  withParts(job, { 3: Buffer.from(signature).toString('base64url') });
const signatureOf = (job: Stored): Buffer => Buffer.from(partsOf(job)[3] ?? '', 'base64url');
const otherOf = (made: Made): Made => (made === 'mac' ? 'pair' : 'mac');
/** What is signed, in the order of docs/job-header.md. */
const fieldsOf = (job: Stored): readonly string[] => {
  const { [HEADER]: _header, ...options } = optionsOf(job);
  const signed = partsOf(job).slice(0, 3).join('.');
  const { name = '', data = '' } = job.hash;
  return [signed, 'bull', 'mail', name, job.id, '', '', '', '', canonicalJson(options), data];
};
const stranger = queueKeyRing([{ kid: 'pair', privateKey: strangersKey }], 'bull', 'mail');
const guessed = queueKeyRing([{ kid: 'mac', secret: 'x'.repeat(32) }], 'bull', 'mail');
const rawPublic = Buffer.from(publicKey.export({ format: 'jwk' }).x ?? '', 'base64url');
const asSecret = queueKeyRing([{ kid: 'pair', secret: rawPublic }], 'bull', 'mail');
const ed448 = generateKeyPairSync('ed448').privateKey;
const rebuilt = createPrivateKey({ key: privateKey.export({ format: 'jwk' }), format: 'jwk' });
const ORDER = 2n ** 252n + 27_742_317_777_372_353_535_851_937_790_883_648_493n;

/** S plus the order of the group: another spelling of the same signature, for whoever does not look. */
function malleable(job: Stored): Stored {
  const signature = signatureOf(job);
  const s = BigInt(`0x${Buffer.from(signature.subarray(32).toReversed()).toString('hex')}`) + ORDER;
  const bytes = Buffer.from(Buffer.from(s.toString(16).padStart(64, '0'), 'hex').toReversed());
  return sealed(job, Buffer.concat([signatureOf(job).subarray(0, 32), bytes]));
}

/** Every kind of forgery. Each begins with a genuine job; `reason` says how it is refused. */
export const FORGERIES: Readonly<Record<string, Forgery>> = {
  'no header': { reason: 'missing', forge: (job) => withHeader(job, undefined) },
  'no options': { reason: 'missing', forge: (job) => without(job, 'opts') },
  'data alone': {
    reason: 'missing',
    forge: (job) => without(job, 'opts', 'name', 'timestamp', 'delay', 'priority'),
  },
  'empty options': { reason: 'missing', forge: (job) => withFields(job, { opts: '{}' }) },
  'a header under another name': {
    reason: 'missing',
    forge: (job) => raw(job, (opts) => opts.replace('"tk!"', '"TK!"')),
  },
  'a header inside of another option': {
    reason: 'missing',
    forge: (job) => withOptions(withHeader(job, undefined), { x: { [HEADER]: optionsOf(job)[HEADER] } }),
  },
  'a header on the prototype': {
    reason: 'missing',
    forge: (job) => raw(withHeader(job, undefined), (opts) => opts.replace('{', `{"__proto__":{"tk!":"x"},`)),
  },

  'an empty header': { reason: 'malformed', forge: (job) => withHeader(job, '') },
  'a header that is null': { reason: 'malformed', forge: (job) => withHeader(job, null) },
  'a header that is a number': { reason: 'malformed', forge: (job) => withHeader(job, 1) },
  'a header that is a list': { reason: 'malformed', forge: (job) => text(job, (header) => [header]) },
  'a header that is an object': { reason: 'malformed', forge: (job) => text(job, (header) => ({ header })) },
  'two headers in one': { reason: 'malformed', forge: (job) => text(job, (header) => `${header}.${header}`) },
  'a header with a space before it': {
    reason: 'malformed',
    forge: (job) => text(job, (header) => ` ${header}`),
  },
  'a header with a line break behind it': {
    reason: 'malformed',
    forge: (job) => text(job, (header) => `${header}\n`),
  },
  'a header of dots': { reason: 'malformed', forge: (job) => withHeader(job, '.'.repeat(4_000)) },
  'a huge header': {
    reason: 'malformed',
    forge: (job) => withParts(job, { 2: Buffer.alloc(50_000, 'claims').toString('base64url') }),
  },
  'a huge header of dots': { reason: 'malformed', forge: (job) => withHeader(job, '.'.repeat(50_000)) },
  'another version': {
    reason: 'malformed',
    forge: (job, _made, n) => withParts(job, { 0: ['v0', 'v2', 'V1', '', 'none'][n % 5] ?? '' }),
  },
  'a key id of another form': {
    reason: 'malformed',
    forge: (job, _made, n) =>
      withParts(job, { 1: ['', 'k'.repeat(33), 'pair ', '../pair', 'é'][n % 5] ?? '' }),
  },
  'claims in another alphabet': {
    reason: 'malformed',
    forge: (job) => withParts(job, { 2: `${partsOf(job)[2]}+` }),
  },
  'claims with padding': {
    reason: 'malformed',
    forge: (job) => withParts(job, { 2: `${partsOf(job)[2]}=` }),
  },
  'no signature': { reason: 'malformed', forge: (job) => withParts(job, { 3: '' }) },
  'a signature cut short': {
    reason: 'malformed',
    forge: (job, _made, n) => sealed(job, signatureOf(job).subarray(0, n % 32)),
  },
  'a longer signature': {
    reason: 'malformed',
    forge: (job, _made, n) => sealed(job, Buffer.concat([signatureOf(job), Buffer.alloc(1 + (n % 9))])),
  },
  'a signature with padding': { reason: 'malformed', forge: (job) => text(job, (header) => `${header}==`) },
  'a signature in hex': {
    reason: 'malformed',
    forge: (job) => withParts(job, { 3: signatureOf(job).toString('hex') }),
  },
  'an unused bit of the signature': {
    reason: 'malformed',
    forge: (job) =>
      text(
        job,
        (header) => header.slice(0, -1) + String.fromCharCode(header.charCodeAt(header.length - 1) + 1),
      ),
  },
  'options that are no JSON': { reason: 'malformed', forge: (job) => raw(job, (opts) => opts.slice(0, -1)) },
  'options that are no object': {
    reason: 'malformed',
    forge: (job, _made, n) => raw(job, (opts) => ['[]', 'null', '7', '""', `[${opts}]`][n % 5] ?? ''),
  },
  'options that are too deep': {
    reason: 'malformed',
    forge: (job) => raw(job, (opts) => opts.replace('{', `{"x":${'['.repeat(20_000)}${']'.repeat(20_000)},`)),
  },
  'an option with a number that Lua cannot keep': {
    reason: 'malformed',
    forge: (job) => raw(job, (opts) => opts.replace('{', '{"x":123456789012345,')),
  },
  'an option that is not finite': {
    reason: 'malformed',
    forge: (job) => raw(job, (opts) => opts.replace('{', '{"x":1e999,')),
  },
  'an option with a lone surrogate': {
    reason: 'malformed',
    forge: (job) => raw(job, (opts) => opts.replace('{', String.raw`{"x":"\ud800",`)),
  },
  'a parent that is no JSON': { reason: 'malformed', forge: (job) => withFields(job, { parent: '{' }) },
  'attempts without end': { reason: 'malformed', forge: (job) => withFields(job, { atm: '-1e9' }) },
  'a MAC with the public key as its secret': {
    reason: 'malformed',
    forge: ({ id }) => craft('mac', id, { ring: asSecret }),
  },
  'the kind of the other key': {
    reason: 'malformed',
    forge: (job, made) => withParts(job, { 1: otherOf(made) }),
  },
  'a signature by Ed448': {
    reason: 'malformed',
    forge: (job) => sealed(job, sign(null, lengthPrefixed(fieldsOf(job)), ed448)),
  },

  'an unknown key': { reason: 'unknownKey', forge: (job, _made, n) => withParts(job, { 1: `k${n}` }) },
  'a key that every object has': {
    reason: 'unknownKey',
    forge: (job, _made, n) => withParts(job, { 1: ['__proto__', 'constructor', 'valueOf'][n % 3] ?? '' }),
  },

  'one bit of the signature': { reason: 'mismatch', forge: (job, _made, n) => withBit(job, n) },
  'a signature of zeros': {
    reason: 'mismatch',
    forge: (job) => sealed(job, Buffer.alloc(signatureOf(job).length)),
  },
  'the name of an older key': {
    reason: 'mismatch',
    forge: ({ id }) => withParts(craft('mac', id), { 1: 'old' }),
  },
  'a guessed secret': { reason: 'mismatch', forge: ({ id }) => craft('mac', id, { ring: guessed }) },
  'a secret that is not derived': {
    reason: 'mismatch',
    forge: ({ id }) => {
      const job = craft('mac', id);
      return sealed(
        job,
        createHmac('sha256', secret)
          .update(lengthPrefixed(fieldsOf(job)))
          .digest(),
      );
    },
  },
  'a key pair of somebody else': {
    reason: 'mismatch',
    forge: ({ id }) => craft('pair', id, { ring: stranger }),
  },
  'a signature for another purpose': {
    reason: 'mismatch',
    forge: ({ id }) => {
      const job = craft('pair', id);
      return sealed(job, sign(null, lengthPrefixed(fieldsOf(job)), rebuilt));
    },
  },
  'another spelling of a signature': { reason: 'mismatch', forge: ({ id }) => malleable(craft('pair', id)) },
  'a signature of small order': {
    reason: 'mismatch',
    forge: ({ id }) => sealed(craft('pair', id), Buffer.concat([Buffer.from([1]), Buffer.alloc(63)])),
  },
  'another tenant in the claims': { reason: 'mismatch', forge: (job) => withClaim(job, 0, 'other') },
  'another person in the claims': {
    reason: 'mismatch',
    forge: (job, _made, n) => withClaim(job, 1, `p${n + 2}`),
  },
  'nobody in the claims': { reason: 'mismatch', forge: (job) => withClaim(job, 1, null) },
  'another actor in the claims': { reason: 'mismatch', forge: (job) => withClaim(job, 2, 'eve') },
  'another time in the claims': { reason: 'mismatch', forge: (job, _made, n) => withClaim(job, 3, n) },
  'a longer list of claims': { reason: 'mismatch', forge: (job) => withClaim(job, 4, 'x') },
  'another tenant’s id, signed by a holder of the key': {
    reason: 'mismatch',
    forge: ({ id }, made) => craft(made, id, { tenant: 'other' }),
  },
  'a header of another job': {
    reason: 'mismatch',
    forge: (job, made, n) => withHeader(job, optionsOf(craft(made, `${job.id}${n}`))[HEADER]),
  },
  'a copy of another job': {
    reason: 'mismatch',
    forge: ({ id }, made) => ({ ...craft(made, `${id}x`), id }),
  },
  'a copy of another job, with its id inside': {
    reason: 'mismatch',
    forge: ({ id }, made) => ({ ...withFields(craft(made, `${id}x`), { id: `${id}x` }), id }),
  },
  'a copy of another tenant’s job': {
    reason: 'mismatch',
    forge: ({ id }, made) => ({ ...craft(made, `other${id.slice(id.indexOf('~'))}`), id }),
  },
  'a copy from another queue': {
    reason: 'mismatch',
    forge: ({ id }, made) => craft(made, id, { queue: 'other' }),
  },
  'a copy from another prefix': {
    reason: 'mismatch',
    forge: ({ id }, made) => craft(made, id, { prefix: 'elsewhere' }),
  },
  'other data': {
    reason: 'mismatch',
    forge: (job, _made, n) => withFields(job, { data: `{"amount":${n}}` }),
  },
  'one space in the data': {
    reason: 'mismatch',
    forge: (job) => withFields(job, { data: ` ${job.hash['data']}` }),
  },
  'no data': { reason: 'mismatch', forge: (job) => without(job, 'data') },
  'data that is no JSON': { reason: 'mismatch', forge: (job) => withFields(job, { data: '{' }) },
  'huge data': { reason: 'mismatch', forge: (job) => withFields(job, { data: `"${'x'.repeat(30_000)}"` }) },
  'another name': { reason: 'mismatch', forge: (job, _made, n) => withFields(job, { name: `n${n}` }) },
  'no name': { reason: 'mismatch', forge: (job) => without(job, 'name') },
  'text moved from the name into the data': {
    reason: 'mismatch',
    forge: (job) => withFields(job, { name: '', data: `n${job.hash['data']}` }),
  },
  'more attempts': { reason: 'mismatch', forge: (job, _made, n) => withOptions(job, { attempts: 4 + n }) },
  'attempts as text': { reason: 'mismatch', forge: (job) => withOptions(job, { attempts: '3' }) },
  'an option less': { reason: 'mismatch', forge: (job) => withOptions(job, { removeOnFail: undefined }) },
  'an option that nobody knows': {
    reason: 'mismatch',
    forge: (job, _made, n) => withOptions(job, { [`x${n}`]: n }),
  },
  'an option twice': {
    reason: 'mismatch',
    forge: (job) => raw(job, (opts) => opts.replace(/}$/, ',"attempts":9}')),
  },
  'a prototype in the options': {
    reason: 'mismatch',
    forge: (job) => raw(job, (opts) => opts.replace('{', '{"__proto__":{"attempts":9},')),
  },
  'a scheduler': { reason: 'mismatch', forge: (job) => withFields(job, { rjk: 'acme~s' }) },
  'a deduplication': { reason: 'mismatch', forge: (job) => withFields(job, { deid: 'other~d' }) },
  'a key of a parent': {
    reason: 'mismatch',
    forge: (job) => withFields(job, { parentKey: 'bull:mail:other~p' }),
  },
  'a parent': {
    reason: 'mismatch',
    forge: (job) => withFields(job, { parent: '{"id":"other~p","queueKey":"bull:mail","fpof":true}' }),
  },

  'a finished job put back': {
    reason: 'replayed',
    forge: (job, _made, n) => withFields(job, { finishedOn: String(n), processedOn: '1', returnvalue: '1' }),
  },
};

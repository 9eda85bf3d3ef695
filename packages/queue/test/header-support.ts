import { generateKeyPairSync } from 'node:crypto';
import { SignatureError } from '@tenantkit/core';
import fc from 'fast-check';
import { queueKeyRing, signerOf, type QueueKeyRing } from '../src/keys.ts';
import type { JobBinding } from '../src/header.ts';

/** Keys of either kind: the tests of headers run with both. */
export const SECRETS = [
  { kid: 'k1', secret: 'a secret of the tests, 32 bytes or more' },
  { kid: 'k2', secret: 'another secret of the tests, long enough' },
] as const;
export const PAIRS = [
  { kid: 'k1', ...generateKeyPairSync('ed25519') },
  { kid: 'k2', ...generateKeyPairSync('ed25519') },
] as const;

/** What makes rings of one kind of key. */
export interface Kind {
  readonly kind: 'HMAC' | 'Ed25519';
  /** A ring of the first key under this name, or of the second one behind it as well. */
  readonly ring: (
    kid?: string,
    options?: { readonly second?: boolean; readonly queue?: string },
  ) => QueueKeyRing;
  /** The second key alone. */
  readonly other: () => QueueKeyRing;
}

const signing = PAIRS.map(({ kid, privateKey }) => ({ kid, privateKey })) as unknown as readonly [
  { kid: string; privateKey: (typeof PAIRS)[0]['privateKey'] },
  { kid: string; privateKey: (typeof PAIRS)[0]['privateKey'] },
];

const of = (kind: Kind['kind'], [first, second]: typeof SECRETS | typeof signing): Kind => ({
  kind,
  ring: (kid = first.kid, { second: both = true, queue = 'mail' } = {}) =>
    queueKeyRing([{ ...first, kid }, ...(both ? [second] : [])], 'bull', queue),
  other: () => queueKeyRing([second], 'bull', 'mail'),
});

export const KINDS: readonly Kind[] = [of('HMAC', SECRETS), of('Ed25519', signing)];

/**
 * Text of letters that are written or counted in different ways, lone surrogates too. Fast-check's own text of all
 * Unicode takes it a second to prepare, for each mutant.
 */
export const oddText = (length: { readonly minLength?: number; readonly maxLength?: number } = {}) =>
  fc.string({
    unit: fc.constantFrom(
      ...'aZ0~._-:/{}[],+= '.split(''),
      'é',
      '😀',
      '"',
      '\\',
      '\n',
      '\0',
      '\u007f',
      '\u2028',
      '\ufeff',
      '\ud800',
      '\udfff',
      'v1',
    ),
    ...length,
  });

/** A job like any other. */
export const BOUND: JobBinding = {
  prefix: 'bull',
  queue: 'mail',
  name: 'welcome',
  id: 'acme~w-1',
  scheduler: '',
  parentKey: '',
  parent: '',
  deduplication: '',
  options: '{"attempts":0,"jobId":"acme~w-1"}',
  data: '{"to":"ada@example.com"}',
};

/** Signs claims of any shape: what a careless holder of the key could produce. */
export function signText(ring: QueueKeyRing, claimsText: string, bound: JobBinding): string {
  const { kid, sign } = signerOf(ring, 'test');
  const signed = `v1.${kid}.${Buffer.from(claimsText).toString('base64url')}`;
  const { prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data } = bound;
  const fields = [prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data];
  return `${signed}.${sign([signed, ...fields])}`;
}

export function errorOf(call: () => unknown): SignatureError {
  try {
    call();
  } catch (error) {
    if (error instanceof SignatureError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

export function reasonOf(call: () => unknown): string {
  return errorOf(call).reason;
}

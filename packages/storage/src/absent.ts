import { AsyncLocalStorage } from 'node:async_hooks';
import { createHash, createHmac } from 'node:crypto';
import { refusal, refuse } from '@tenantkit/core';
import type { OutgoingRequest } from './guard.ts';
import { LABEL_HEADER } from './subject-names.ts';

// SigV4 lists the headers that are signed. Ceph leaves one that is listed and was not sent out of what it signs again,
// so a URL can be signed to be used without it: whoever adds it changes the signature. AWS refuses unsigned `x-amz-*`
// headers by itself.

/** What Ceph takes from whoever has the URL of a PUT, to another effect than that of storing the body. */
const WRITING = [
  'x-amz-acl',
  'x-amz-copy-source',
  'x-amz-copy-source-range',
  'x-amz-grant-full-control',
  'x-amz-grant-read',
  'x-amz-grant-read-acp',
  'x-amz-grant-write',
  'x-amz-grant-write-acp',
  LABEL_HEADER,
  'x-amz-metadata-directive',
  'x-amz-object-lock-legal-hold',
  'x-amz-object-lock-mode',
  'x-amz-object-lock-retain-until-date',
  'x-amz-storage-class',
  'x-amz-tagging',
  'x-amz-tagging-directive',
  'x-amz-website-redirect-location',
] as const;

const ABSENT: Readonly<Record<string, readonly string[]>> = {
  PUT: WRITING,
  DELETE: ['x-amz-bypass-governance-retention'],
};

/** Whether what is presigned now is for a server that lets a header be signed as absent. */
export const closing: AsyncLocalStorage<boolean> = new AsyncLocalStorage<boolean>();

/** The headers that must not come with the URL of a request; none unless {@link closing}. */
export function absentIn({ method, headers }: OutgoingRequest): readonly string[] {
  if (closing.getStore() !== true) return [];
  const there = new Set(Object.keys(headers).map((name) => name.toLowerCase()));
  return (ABSENT[method] ?? []).filter((name) => !there.has(name));
}

/**
 * Signs a presigned request again, so that it cannot be used with these headers.
 *
 * @param request - as the SDK has signed it
 * @throws OperationRefusedError when it was signed in another way, or with another secret
 */
export function signAbsent(
  request: OutgoingRequest,
  names: readonly string[],
  { operation, secret }: { readonly operation: string; readonly secret: string },
): OutgoingRequest {
  const { [SIGNATURE]: signature, ...query } = request.query as Readonly<Record<string, string>>;
  if (signature === undefined || signatureOf(request, query, secret) !== signature)
    throw refusal('storage', operation, OTHERWISE);
  const listed = [...(query[SIGNED] ?? '').split(';'), ...names].sort().join(';');
  const further = { ...query, [SIGNED]: listed };
  const again = { ...further, [SIGNATURE]: signatureOf(request, further, secret) };
  return Object.assign(Object.create(Object.getPrototypeOf(request) as object), request, {
    query: again,
  }) as OutgoingRequest;
}

/** Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html */
function signatureOf(
  { method, path, headers }: OutgoingRequest,
  query: Readonly<Record<string, string>>,
  secret: string,
): string {
  const values = new Map(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value] as const),
  );
  const signed = query[SIGNED] ?? '';
  const lines = signed.split(';').flatMap((name) => {
    const value = values.get(name);
    return value === undefined ? [] : [`${name}:${String(value).trim().replace(/\s+/g, ' ')}`];
  });
  const pairs = Object.entries(query).map(([name, value]) => `${escaped(name)}=${escaped(value)}`);
  const digest = query['X-Amz-Content-Sha256'] ?? 'UNSIGNED-PAYLOAD';
  const canonical = [method, path, pairs.sort().join('&'), ...lines, '', signed, digest].join('\n');
  const date = query['X-Amz-Date'] ?? '';
  const [, ...scope] = (query['X-Amz-Credential'] ?? '').split('/');
  const hash = createHash('sha256').update(canonical).digest('hex');
  const text = ['AWS4-HMAC-SHA256', date, scope.join('/'), hash].join('\n');
  const key = scope.reduce<string | Buffer>(hmac, `AWS4${secret}`);
  return hmac(key, text).toString('hex');
}

const SIGNED = 'X-Amz-SignedHeaders';
const SIGNATURE = 'X-Amz-Signature';

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

function escaped(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

const OTHERWISE = refuse(
  'the signer of this client has signed it in a way of its own, so nobody can add what must not come with it',
  "Leave the client options signer and signerConstructor to the SDK, or leave server: 'ceph' out.",
);

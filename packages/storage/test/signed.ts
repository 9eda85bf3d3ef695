import { createHash, createHmac } from 'node:crypto';
import type { Session } from './role.ts';

/** What a request is signed with: keys of a user, or of a session. */
export type Keys = Pick<Session, 'accessKeyId' | 'secretAccessKey'> & Partial<Session>;

/** A request to an API of the server that the SDK for S3 knows nothing of. */
export interface SignedRequest {
  readonly service: string;
  readonly method?: string;
  readonly path?: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly form?: Readonly<Record<string, string>>;
}

/** Sends one, signed with Signature Version 4. */
export async function send(
  { endpoint, region }: { readonly endpoint: string; readonly region: string },
  { accessKeyId, secretAccessKey, sessionToken }: Keys,
  { service, method = 'POST', path = '/', query = {}, form }: SignedRequest,
): Promise<string> {
  const body = form === undefined ? undefined : new URLSearchParams(form).toString();
  const search = new URLSearchParams(query);
  search.sort();
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const parts = [date.slice(0, 8), region, service, 'aws4_request'];
  const hash = sha256(body ?? '');
  const headers = {
    ...(body === undefined ? {} : { 'content-type': 'application/x-www-form-urlencoded' }),
    host: new URL(endpoint).host,
    'x-amz-content-sha256': hash,
    'x-amz-date': date,
    ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
  };
  const names = Object.keys(headers).join(';');
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}`);
  const canonical = [method, path, search.toString(), ...lines, '', names, hash].join('\n');
  const text = ['AWS4-HMAC-SHA256', date, parts.join('/'), sha256(canonical)].join('\n');
  const key = parts.reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${parts.join('/')}, SignedHeaders=${names}, Signature=${hmac(key, text).toString('hex')}`;
  const init = { method, headers: { ...headers, authorization }, ...(body === undefined ? {} : { body }) };
  const response = await fetch(`${endpoint}${path}?${search.toString()}`, init);
  const answer = await response.text();
  if (!response.ok) throw new Error(`${response.status} ${answer}`);
  return answer;
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

import { refusal, refuse } from '@tenantkit/core';
import type { Call } from './call.ts';

/**
 * Servers answer a request whose head is too long and close the connection (AWS above 8 KiB of headers, Ceph above 16
 * KiB in all): whoever has that connection next would be the one to fail.
 *
 * @param headers - in lower case
 * @throws OperationRefusedError
 */
export function assertSize(
  path: string,
  query: ReadonlyMap<string, unknown>,
  headers: ReadonlyMap<string, string>,
  call: Call,
): void {
  // What it can be at most, in UTF-8 and encoded: far below for nearly every request.
  let most = path.length;
  for (const [name, value] of query) most += name.length + 9 * String(value).length;
  for (const [name, value] of headers) most += name.length + 3 * value.length;
  if (most <= MAX_HEAD) return;
  let size = path.length;
  for (const [name, value] of query) size += name.length + encodeURIComponent(String(value)).length;
  for (const [name, value] of headers) if (!OWN.has(name)) size += name.length + Buffer.byteLength(value);
  if (size <= MAX_HEAD) return;
  throw refusal('storage', call.operation, refuse('its headers and parameters are too long', SHORTER));
}

const MAX_HEAD = 12_288;
const SHORTER = 'Keep less in Metadata and in texts of the reply (AWS takes 2 KiB of metadata).';
// As long as the server has made them.
const OWN: ReadonlySet<string> = new Set(['authorization', 'x-amz-security-token']);

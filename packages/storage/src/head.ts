import { refusal, refuse } from '@tenantkit/core';
import type { Call } from './call.ts';
import type { OutgoingRequest } from './guard.ts';

const MAX_HEAD = 12_288;
// Less than 16 KiB, with room for what the connection adds.
const MAX_ALL = 15_872;
const TOKEN_HEADER = 'x-amz-security-token';
// The version of the protocol, and line breaks.
const LINE = 15;
// The name of the header, and all of its value but the names of the signed ones: key id and region are short.
const SIGNED = 300;
const SHORTER = 'Keep less in Metadata and in texts of the reply (AWS takes 2 KiB of metadata).';

/**
 * Servers answer a request whose head is too long and close the connection (AWS above 8 KiB of headers, Ceph above 16
 * KiB in all): whoever has that connection next would be the one to fail.
 *
 * The signature names every header once more. Before it is there, it is counted as long as it will be.
 *
 * @throws OperationRefusedError when it is longer than servers take
 */
export function assertHead(
  { method, path }: OutgoingRequest,
  query: ReadonlyMap<string, unknown>,
  headers: ReadonlyMap<string, string>,
  call: Call,
): void {
  // What it can be at most, in UTF-8 and encoded: far below for nearly every request.
  let most = method.length + path.length + LINE + SIGNED;
  for (const [name, value] of query) most += name.length + 9 * String(value).length + 2;
  for (const [name, value] of headers) most += 2 * name.length + 3 * value.length + 5;
  if (most <= MAX_HEAD) return;
  let size = method.length + path.length + LINE;
  for (const [name, value] of query) size += name.length + encodeURIComponent(String(value)).length + 2;
  let signature = SIGNED;
  for (const [name, value] of headers) {
    if (name === 'authorization') continue;
    signature += name.length + 1;
    if (name !== TOKEN_HEADER) size += name.length + Buffer.byteLength(value) + 4;
  }
  size += Math.max(signature, Buffer.byteLength(headers.get('authorization') ?? ''));
  // As long as the server has made it.
  const token = Buffer.byteLength(headers.get(TOKEN_HEADER) ?? '');
  if (size <= MAX_HEAD && size + token <= MAX_ALL) return;
  throw refusal('storage', call.operation, refuse('its headers and parameters are too long', SHORTER));
}

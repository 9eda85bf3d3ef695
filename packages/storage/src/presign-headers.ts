import { refusal, refuse } from '@tenantkit/core';

/** A part of an upload that the URL's user must send as it was signed. */
export type SignedPart = keyof typeof PARTS;

const CHECKSUMS = {
  ChecksumCRC32: 'x-amz-checksum-crc32',
  ChecksumCRC32C: 'x-amz-checksum-crc32c',
  ChecksumCRC64NVME: 'x-amz-checksum-crc64nvme',
  ChecksumSHA1: 'x-amz-checksum-sha1',
  ChecksumSHA256: 'x-amz-checksum-sha256',
  ChecksumSHA512: 'x-amz-checksum-sha512',
  ChecksumMD5: 'x-amz-checksum-md5',
  ChecksumXXHASH64: 'x-amz-checksum-xxhash64',
  ChecksumXXHASH3: 'x-amz-checksum-xxhash3',
  ChecksumXXHASH128: 'x-amz-checksum-xxhash128',
} as const;

/** The fields of a command that each part is given by, with the header that it becomes. */
const PARTS = {
  'if-none-match': { IfNoneMatch: 'if-none-match' },
  'content-length': { ContentLength: 'content-length' },
  'content-type': { ContentType: 'content-type' },
  'content-md5': { ContentMD5: 'content-md5' },
  checksum: CHECKSUMS,
} as const satisfies Readonly<Record<string, Readonly<Record<string, string>>>>;

/** The names of {@link PARTS}. */
export const SIGNED_PARTS = Object.keys(PARTS) as [SignedPart, ...SignedPart[]];

/**
 * The headers that a command must have signed.
 *
 * @throws OperationRefusedError when the command does not have the field of a part: nothing would be signed
 */
export function headersOf(parts: readonly SignedPart[], input: unknown): string[] {
  const given = Object(input) as Readonly<Record<string, unknown>>;
  return parts.flatMap((part) => {
    const headers = Object.entries(PARTS[part]).filter(([field]) => given[field] !== undefined);
    if (headers.length > 0) return headers.map(([, header]) => header);
    const fields = Object.keys(PARTS[part]).join(' or ');
    throw refusal(
      'storage',
      OPERATION,
      refuse(`${part} is to be signed and the command does not say it`, `Give the command ${fields}.`),
    );
  });
}

/**
 * Looks whether a URL is signed with these headers: who uses it must send them so.
 *
 * @throws OperationRefusedError when it is not
 */
export function assertSigned(url: string, headers: readonly string[]): void {
  const query = new URL(url).searchParams;
  const signed = (query.get('X-Amz-SignedHeaders') ?? '').split(';');
  const missing = headers.find((header) => !signed.includes(header));
  if (missing === undefined) return;
  throw refusal(
    'storage',
    OPERATION,
    refuse(
      `its header ${missing} was taken away before it was signed`,
      'Look at the middleware of the client.',
    ),
  );
}

const OPERATION = 'getSignedUrl';

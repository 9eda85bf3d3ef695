import { refuse, type RefuseRule } from '@tenantkit/core';

/** What a `CopySource` names. */
export interface CopySource {
  readonly bucket: string;
  readonly key: string;
  readonly versionId?: string;
}

/** A version id: opaque text of S3, in practice of these characters; a server may keep it as a file name. */
export const VERSION_ID = /^(?!(?:.*\/)?\.{1,2}(?:\/|$))[A-Za-z0-9._~+/=-]{1,1024}$/;

/**
 * Reads a `CopySource` (`b/k`, `/b/k`, percent-encoded in part or in whole, with `?versionId=`). It is decoded
 * exactly once: the SDK sends it verbatim, and a server that decodes again would read `%252e%252e` otherwise
 * than whoever checked it.
 *
 * @returns what it names, or the reason why it is refused
 */
export function parseCopySource(text: unknown): CopySource | RefuseRule {
  if (typeof text !== 'string' || text === '') return refuse('CopySource is not a text', INSTEAD);
  if (/^\/?arn:/i.test(text)) {
    return refuse('CopySource is an ARN, which names a bucket behind an access point', INSTEAD);
  }
  const cut = text.indexOf('?');
  const path = cut === -1 ? text : text.slice(0, cut);
  const versionId = cut === -1 ? undefined : /^\?versionId=(.+)$/.exec(text.slice(cut))?.[1];
  if (cut !== -1 && (versionId === undefined || !VERSION_ID.test(versionId))) {
    return refuse('CopySource has a query other than ?versionId=', INSTEAD);
  }
  let decoded: string;
  try {
    decoded = decodeURIComponent(path);
  } catch {
    return refuse('CopySource is not well-formed percent-encoding', INSTEAD);
  }
  const bare = decoded.startsWith('/') ? decoded.slice(1) : decoded;
  const slash = bare.indexOf('/');
  if (slash < 1) return refuse('CopySource names no bucket or no key', INSTEAD);
  const source = { bucket: bare.slice(0, slash), key: bare.slice(slash + 1) };
  return versionId === undefined ? source : { ...source, versionId };
}

/** The one spelling in which a `CopySource` leaves: `bucket/key`, each segment percent-encoded. */
export function formatCopySource({ bucket, key, versionId }: CopySource): string {
  return `${bucket}/${encodePath(key)}${versionId === undefined ? '' : `?versionId=${versionId}`}`;
}

/** A key as it stands in a URL's path: the SDK's own spelling, slashes kept. */
export function encodePath(key: string): string {
  // Nearly every key, and it is spelled for each check of each request.
  if (UNCHANGED.test(key)) return key;
  return encodeURIComponent(key)
    .replaceAll('%2F', '/')
    .replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
}

const UNCHANGED = /^[A-Za-z0-9/_.~-]*$/;

const INSTEAD = 'Give it as `${bucket}/${encodeURIComponent(key)}`, with the logical key of this tenant.';

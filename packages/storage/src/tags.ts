import { refuse, type RefuseRule } from '@tenantkit/core';

/** The keys of tags in the form of a query string; `undefined` when it is none. */
export function tagKeys(text: string): string[] | undefined {
  if (text === '') return [];
  try {
    return text.split('&').map((pair) => {
      const at = pair.indexOf('=');
      return decodeURIComponent((at === -1 ? pair : pair.slice(0, at)).replaceAll('+', ' '));
    });
  } catch {
    return undefined;
  }
}

/** Why a tag with this key is refused, or `undefined`. */
export function refuseTag(
  accepted: ReadonlySet<unknown>,
  field: string,
  key: unknown,
): RefuseRule | undefined {
  if (accepted.has(key)) return undefined;
  return refuse(
    `${field} has a tag that tenants may not write: lifecycle rules and policies, which are of all tenants, go by tags`,
    'Name its key in the client option tenant.tags, or keep the value in Metadata.',
  );
}

import type { Argument } from './keyspec.ts';
import type { TenantNames } from './names.ts';

const SLOTS =
  ' With the option tenant: { hashTag: true } all keys of a tenant are in one slot; or give the keys a hash tag.';

/**
 * An error text of the server in logical names. Redis repeats arguments in its texts, and so do scripts.
 *
 * The keys of the call are replaced as wholes: a key may itself begin with what looks like a prefix. What is left of
 * the prefix comes from texts that the server has cut, and is taken away where a name can begin: the prefix `a:` of
 * another template would be found at the end of many a word.
 */
export function logicalText(text: string, keys: readonly Argument[], names: TenantNames): string {
  const { prefix } = names;
  const whole = [...new Set(keys.map(String))].sort((a, b) => b.length - a.length).map(escapeRegExp);
  const found = new RegExp([...whole, String.raw`(?<![\w-])${escapeRegExp(prefix)}`].join('|'), 'g');
  const logical = text.replace(found, (name) => name.slice(prefix.length));
  return text.startsWith('CROSSSLOT ') ? logical + SLOTS : logical;
}

function escapeRegExp(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/-]/g, String.raw`\$&`);
}

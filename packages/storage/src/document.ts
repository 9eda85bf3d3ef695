import { createHash } from 'node:crypto';
import { allowed, requiredOf } from './allowed.ts';
import { astray } from './astray.ts';
import type { Call, Realm } from './call.ts';
import { VERSION_ID } from './copy-source.ts';
import type { InputField, InputRole } from './fields/index.ts';
import type { OutgoingRequest } from './guard.ts';
import { readXml } from './xml.ts';

const DIGEST = 'x-amz-content-sha256';

/**
 * The last check of a body that is XML, such as the keys of a DeleteObjects: middleware can have changed what was
 * serialised. It is made before signing as well: a signature goes with whatever body its digest is of, also one that is
 * sent past this client.
 *
 * @throws CrossTenantError when it names something outside the tenant, or something that the command's row does not
 *   know, or when it would be signed as another one
 */
export function assertDocument({ headers, body = '' }: OutgoingRequest, call: Call, realm: Realm): void {
  const { elements } = allowed(call.plan);
  if (elements.size === 0) return;
  if (typeof body !== 'string') throw astray(call, 'its body is not as it was serialised');
  const [, digest] = Object.entries(headers).find(([name]) => name.toLowerCase() === DIGEST) ?? [];
  const before = passed.get(call);
  if (before !== undefined && before.body === body && before.digest === digest) return;
  if (digest !== undefined && digest !== createHash('sha256').update(body).digest('hex')) {
    throw astray(call, 'its signature would hold for another body');
  }
  if (body === '') return;
  const texts = readXml(body);
  if (texts === undefined) throw astray(call, 'its body is not as it was serialised');
  for (const { path, text } of texts) {
    const field = elements.get(path);
    if (field === undefined || CHECKS[field.as]?.(text, call, realm, field) === false) {
      throw astray(call, 'its body names something that was not checked');
    }
  }
  passed.set(call, { body, digest });
}

// What is sent is nearly always what was signed: the same text, for the same call, with the same digest.
const passed = new WeakMap<Call, { readonly body: string; readonly digest: unknown }>();

// An entry of a list without anything in it, which is one of those that may be.
const emptyEntry = (text: string, _call: Call, _realm: Realm, { fields = {} }: InputField): boolean =>
  text === '' && requiredOf(fields).length === 0;

const CHECKS: Readonly<
  Partial<Record<InputRole, (text: string, call: Call, realm: Realm, field: InputField) => boolean>>
> = {
  // Those that the call has made were looked through when it made them.
  key: (text, { tenant, spellings }, { names }) => spellings.has(text) || names.accepts(tenant, text),
  version: (text) => VERSION_ID.test(text),
  tagKey: (text, _call, { tags }) => tags.has(text),
  record: (text) => text === '',
  list: emptyEntry,
};

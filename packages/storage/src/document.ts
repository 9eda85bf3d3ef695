import { allowed, requiredOf } from './allowed.ts';
import { astray } from './astray.ts';
import type { Call, Realm } from './call.ts';
import { VERSION_ID } from './copy-source.ts';
import type { InputField, InputRole } from './fields/index.ts';
import { readXml } from './xml.ts';

/**
 * The last check of a body that is XML, such as the keys of a DeleteObjects: middleware can have changed what was
 * serialised.
 *
 * @throws CrossTenantError when it names something outside the tenant, or something that the command's row does not
 *   know
 */
export function assertDocument(body: unknown, call: Call, realm: Realm): void {
  const texts = typeof body === 'string' ? readXml(body) : undefined;
  if (texts === undefined) throw astray(call, 'its body is not as it was serialised');
  const { elements } = allowed(call.plan);
  for (const { path, text } of texts) {
    const field = elements.get(path);
    if (field === undefined || CHECKS[field.as]?.(text, call, realm, field) === false) {
      throw astray(call, 'its body names something that was not checked');
    }
  }
}

// An entry of a list without anything in it, which is one of those that may be.
const emptyEntry = (text: string, _call: Call, _realm: Realm, { fields = {} }: InputField): boolean =>
  text === '' && requiredOf(fields).length === 0;

const CHECKS: Readonly<
  Partial<Record<InputRole, (text: string, call: Call, realm: Realm, field: InputField) => boolean>>
> = {
  key: (text, { tenant }, { names }) => names.accepts(tenant, text),
  version: (text) => VERSION_ID.test(text),
  tagKey: (text, _call, { tags }) => tags.has(text),
  record: (text) => text === '',
  list: emptyEntry,
};

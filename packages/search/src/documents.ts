import { Serializer, errors } from '@opensearch-project/opensearch';
import type { TenantContext } from '@tenantkit/core';
import { isObject, normalizeJson, tooDeep } from './json.ts';
import type { SearchSettings } from './options.ts';
import type { Refuse } from './refusing.ts';

/** What a document is stamped with, and by whom it is written. */
export interface Stamping {
  readonly context: TenantContext;
  readonly settings: SearchSettings;
  readonly serializer: Serializer;
  readonly refuse: Refuse;
}

/**
 * The JSON text of a document, with the tenant's id and the data subject of the context in it. The caller's own
 * value for either field is refused in every spelling, never overwritten: a value that is silently replaced
 * would let a service believe that it can choose the tenant.
 *
 * @param body - an object, or its JSON as text or Buffer
 * @throws {@link OperationRefusedError}
 * @throws SerializationError of the raw client when the body cannot be written as JSON
 */
export function stampDocument(body: unknown, stamping: Stamping): string {
  const { serializer, refuse } = stamping;
  const text = asText(body, refuse);
  if (text !== undefined) return stampText(text, stamping);
  // A serializer of the caller's own may rename keys: what it has written is checked, not what it was given.
  if (Object.getPrototypeOf(serializer) !== Serializer.prototype || Object.hasOwn(serializer, 'serialize')) {
    return stampText(serialize(body, body, stamping), stamping);
  }
  const given = hasToJson(body) ? body.toJSON() : body;
  if (!isObject(given)) throw noObject(refuse);
  // A copy: a Proxy could list other keys to the serializer than it has listed to the check.
  const copy: Record<string, unknown> = { ...given };
  // The serializer would call it on the copy, and send what it answers in the place of all that was checked.
  if (HOOKS.some((hook) => typeof copy[hook] === 'function')) throw hooked(refuse);
  checkKeys(Object.keys(copy), stamping);
  return stamped(checkText(serialize(copy, body, stamping), refuse), stamping);
}

/** What a serializer calls on an object. @see https://github.com/opensearch-project/opensearch-js (JSON11) */
const HOOKS = ['toJSON', 'toJSON5', 'toJSON11'] as const;

/** Puts the stamp into the text of an object: into what is sent, not into what is still to be written. */
function stamped(text: string, { context, settings, refuse }: Stamping): string {
  if (!text.startsWith('{')) throw hooked(refuse);
  const subjects =
    context.subject === undefined
      ? ''
      : `,${JSON.stringify(settings.subjectsField)}:${JSON.stringify([context.subject])}`;
  const stamp = `{${JSON.stringify(settings.field)}:${JSON.stringify(context.tenant)}${subjects}`;
  return text === '{}' ? `${stamp}}` : `${stamp},${text.slice(1)}`;
}

/** The text of a body that is one, or that is bytes; `undefined` for an object. Streams are refused. */
export function asText(body: unknown, refuse: Refuse): string | undefined {
  if (typeof body === 'string') return body;
  if (body instanceof Uint8Array) {
    try {
      return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(body);
    } catch {
      throw refuse('its body is not UTF-8', 'Give an object, or JSON in UTF-8.');
    }
  }
  if (typeof body === 'object' && body !== null && 'pipe' in body && typeof body.pipe === 'function') {
    throw refuse(
      'its body is a stream, which cannot be checked before it is sent',
      'Give an object, a text or a Buffer.',
    );
  }
  return undefined;
}

function stampText(text: string, { context, settings, refuse, ...rest }: Stamping): string {
  // Without line breaks, which would end the line of a bulk body.
  const [document, canonical] = normalizeJson(text, refuse);
  if (!isObject(document)) throw noObject(refuse);
  checkKeys(Object.keys(document), { context, settings, refuse, ...rest });
  return stamped(checkText(canonical, refuse), { context, settings, refuse, ...rest });
}

function serialize(value: unknown, body: unknown, { serializer, refuse }: Stamping): string {
  try {
    return serializer.serialize(value);
  } catch (error) {
    if (!(error instanceof errors.SerializationError)) throw error;
    if (error.message.includes('call stack')) throw tooDeep(refuse);
    // With the caller's own body as data, not with our copy.
    throw new errors.SerializationError(error.message, body);
  }
}

function checkKeys(keys: readonly string[], { settings, refuse }: Stamping): void {
  for (const key of keys) {
    // `tenant_id`, `tenant_id.x` and whatever else the server could take for the same field.
    const top = key
      .split('.')
      .find((part) => part.trim() !== '')
      ?.trim();
    if (top === undefined) throw refuse('a field of the document has no name', 'Name it.');
    if (top === settings.field || top === settings.subjectsField) {
      throw refuse(
        `the document brings the field ${top}, which tenantkit writes`,
        `Leave it out: it is set from the context; rename a field of your own with the options field and subjectsField.`,
      );
    }
  }
}

// The client refuses to read such a document back, and with it every search that finds it.
function checkText(text: string, refuse: Refuse): string {
  const poisoned =
    text.includes('"__proto__":') || (text.includes('"constructor":') && hasPrototypeKey(JSON.parse(text)));
  if (!poisoned) return text;
  throw refuse(
    'the document has a key __proto__ or constructor.prototype, with which the client does not read it back',
    'Drop the key.',
  );
}

function hasPrototypeKey(value: unknown): boolean {
  if (Array.isArray(value)) return value.some(hasPrototypeKey);
  if (!isObject(value)) return false;
  const { constructor } = Object.hasOwn(value, 'constructor') ? value : { constructor: undefined };
  return (
    (isObject(constructor) && Object.hasOwn(constructor, 'prototype')) ||
    Object.values(value).some(hasPrototypeKey)
  );
}

function hasToJson(value: unknown): value is { toJSON(): unknown } {
  return (
    typeof value === 'object' && value !== null && 'toJSON' in value && typeof value.toJSON === 'function'
  );
}

function hooked(refuse: Refuse): Error {
  return refuse(
    'the document decides by a toJSON of its own what is written in its place',
    'Give plain data.',
  );
}

function noObject(refuse: Refuse): Error {
  return refuse('a document is a JSON object', 'Give an object.');
}

import { breach, isTenantkitError } from '@tenantkit/core';
import type { Call, Realm } from './call.ts';
import { otherBuckets, speaker } from './speaking.ts';

/**
 * Makes an error of the server logical, in place where that can be: an instance of its class, with its stack. Of a
 * document the SDK hands on every element; those that are no texts are withheld, as in a reply.
 *
 * @returns the error, or an IsolationBreachError when it names a key outside the tenant
 */
export function rewriteError(realm: Realm, call: Call, error: unknown): unknown {
  if (!(error instanceof Error) || isTenantkitError(error)) return error;
  const own = Object.getOwnPropertyDescriptors(error) as Record<string, PropertyDescriptor>;
  // An accessor in newer engines, which reads nothing on another object.
  own['stack'] = { value: error.stack, writable: true, configurable: true };
  // What the SDK makes of a reply has it; others may hold whatever their maker has put there.
  const isDocument = '$fault' in own;
  const elements = Object.entries(own).map(([name, { value }]): Element => {
    return [name, isDocument ? withoutNested(name, value) : value];
  });
  const texts = elements.flatMap((one) => (isDocument ? [one, ...partsOf(one)] : [one]));
  // The client's own requests have keys that are in no tenant.
  const isForeign = ([name, text]: Element): boolean =>
    name === 'Key' &&
    typeof text === 'string' &&
    text !== call.key &&
    realm.names.tenantOf(text) !== call.tenant;
  if (texts.some(isForeign)) {
    return breach('storage', call.operation, 'an error named a key outside the tenant', call.tenant);
  }
  if (isDocument) dropNestedId(own['$metadata']?.value);
  const tell = teller(realm, call);
  const changed = elements.flatMap(([name, value]) => {
    const parts = isDocument ? partsOf([name, value]) : [];
    const told =
      parts.length === 0
        ? tell([name, value])
        : Object.fromEntries(parts.map((part) => [part[0], tell(part)]));
    return told === own[name]?.value ? [] : [[name, told] as const];
  });
  const response = own['$response']?.value as object | undefined;
  if (response !== undefined && 'body' in response && typeof response.body === 'string') response.body = '';
  if (changed.every(([name]) => own[name]?.configurable === true)) {
    for (const [name, value] of changed) {
      if (value === undefined) Reflect.deleteProperty(error, name);
      else Object.defineProperty(error, name, { value });
    }
    return error;
  }
  // The SDK lets nobody change that text: a copy of the error, of the same class and with the same stack.
  const copy = Object.setPrototypeOf(new Error(), Object.getPrototypeOf(error) as object) as Error;
  for (const [name, value] of changed) {
    if (value === undefined) Reflect.deleteProperty(own, name);
    else own[name] = { ...own[name], value };
  }
  return Object.defineProperties(copy, own);
}

type Element = readonly [name: string, value: unknown];

/** Around all others in the documents of some servers; the SDK gives it besides what is in it. */
const WRAPPER = 'Error';

/**
 * What the SDK itself sets on an error. An element of any other name is one of S3's, which begin with a capital: others
 * would pass for what callers know errors by (`code`, `cause`), or for methods.
 */
const OBJECTS: ReadonlySet<string> = new Set(['$metadata', '$response']);
const TEXTS: ReadonlySet<string> = new Set([
  '$fault',
  '$service',
  '$responseBodyText',
  'name',
  'message',
  'stack',
]);
const ELEMENT = /^[A-Z]/;

/** Of an element that is no text nothing; of the one around all others those inside that are texts. */
function withoutNested(name: string, value: unknown): unknown {
  if (OBJECTS.has(name) || isMade(value)) return value;
  if (!TEXTS.has(name) && !ELEMENT.test(name)) return undefined;
  if (!isNested(value)) return value;
  if (name !== WRAPPER || Array.isArray(value)) return undefined;
  return Object.fromEntries(Object.entries(value).filter(([, part]) => !isNested(part)));
}

/** What no document can be read as: the cause of an error, and what the SDK knows of its being retried. */
function isMade(value: unknown): boolean {
  if (value instanceof Error) return true;
  return isNested(value) && Reflect.get(value, 'throttling') === true;
}

// The SDK takes it from the document where no header has it, whatever it is.
function dropNestedId(metadata: unknown): void {
  if (isNested(metadata) && isNested(Reflect.get(metadata, 'requestId')))
    Reflect.deleteProperty(metadata, 'requestId');
}

function partsOf([name, value]: Element): Element[] {
  return name === WRAPPER && isNested(value) ? Object.entries(value) : [];
}

function isNested(value: unknown): value is object {
  return typeof value === 'object' && value !== null;
}

function teller(realm: Realm, call: Call): (element: Element) => unknown {
  const speak = speaker(realm, call);
  // A key may have the name of a bucket in it.
  const speakKey = speaker(realm, call, NO_BUCKETS);
  return ([name, value]) => {
    if (typeof value !== 'string') return value;
    // A reply that could not be read is kept there as text, keys and all.
    return name === '$responseBodyText' ? '' : name === 'Key' ? speakKey(value) : speak(value);
  };
}

const NO_BUCKETS: ReturnType<typeof otherBuckets> = { names: new Map(), pattern: '' };

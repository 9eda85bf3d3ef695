import { refusal, refuse, type RefuseRule } from '@tenantkit/core';
import { shown } from './grammar.ts';
import { plainValue } from './plain.ts';
import { rules } from './rules.ts';
import type { PostCondition } from './post.ts';

/** What a caller asks of a form. */
export interface FormRequest {
  readonly operation: string;
  readonly bucket: string;
  /** Logical. */
  readonly key: string;
  readonly fields: Readonly<Record<string, unknown>>;
  readonly conditions: readonly unknown[];
  readonly anyLength?: boolean | undefined;
  readonly anyType?: boolean | undefined;
}

/** The fields and conditions of a form that were allowed: fresh and plain, without key and bucket. */
export interface FormParts {
  readonly fields: Record<string, string>;
  readonly conditions: PostCondition[];
}

/** A field that a form may send: which values it takes, and whether a policy may leave its end open. */
interface FormField {
  readonly value: RegExp;
  readonly open: boolean;
}

/** The size to which AWS takes a form's file. */
const MAX_BYTES = 5 * 1024 ** 3;

/**
 * Reads the fields and conditions of a form once, into plain data.
 *
 * @throws OperationRefusedError for what the table does not allow
 */
export function readForm(asked: FormRequest): FormParts {
  const { operation, key, fields: given, anyLength = false, anyType = false } = asked;
  if (VARIABLE.test(key)) throw no(operation, 'Key has a variable, which the server fills in', ONE_KEY);
  const fields: Record<string, string> = {};
  const seen = new Set<string>();
  for (const [name, value] of Object.entries(given)) {
    const lower = name.toLowerCase();
    // Which of two spellings counts is the server's guess.
    if (seen.has(lower)) throw no(operation, `the field "${shown(name)}" is given twice`, 'Give it once.');
    seen.add(lower);
    fields[name] = fieldValue(operation, name, value);
  }
  const conditions = asked.conditions.flatMap((condition) => readCondition(asked, condition));
  const typed = seen.has(TYPE) || conditions.some((one) => typeName(one) === TYPE);
  if (!typed && !anyType) throw refusal('storage', operation, NO_TYPE);
  const measured = conditions.some((one) => Array.isArray(one) && one[0] === RANGE);
  if (!measured && !anyLength) throw refusal('storage', operation, NO_LENGTH);
  return { fields, conditions };
}

// `${filename}` today; what else a server may fill in is not asked.
const VARIABLE = /\$\{/;
const TYPE = 'content-type';
const RANGE = 'content-length-range';

function readCondition(asked: FormRequest, given: unknown): PostCondition[] {
  const { operation } = asked;
  if (!Array.isArray(given)) {
    if (typeof given !== 'object' || given === null) throw refusal('storage', operation, NO_CONDITION);
    return Object.entries(given).flatMap(([name, value]) => exact(asked, name, value));
  }
  const [how, first, second, ...more] = Array.from({ length: given.length }, (_, i) => given[i] as unknown);
  if (more.length > 0) throw refusal('storage', operation, NO_CONDITION);
  if (how === RANGE) {
    if (!isLength(first) || !isLength(second) || first > second)
      throw no(operation, `${RANGE} has no two numbers of bytes, the lesser first`, BYTES);
    return [[RANGE, first, second]];
  }
  if ((how !== 'eq' && how !== 'starts-with') || typeof first !== 'string' || !first.startsWith('$'))
    throw refusal('storage', operation, NO_CONDITION);
  const name = first.slice(1);
  if (how === 'eq') return exact(asked, name, second);
  if (PLACES.has(name.toLowerCase())) throw no(operation, `its condition leaves ${name} open`, ONE_KEY);
  const { open } = fieldOf(operation, name);
  if (!open)
    throw no(operation, `its condition leaves ${shown(name)} open`, 'Give the exact value in Fields.');
  const start = plainText(operation, name, second);
  if (start === '' && name.toLowerCase() === TYPE && asked.anyType !== true)
    throw refusal('storage', operation, NO_TYPE);
  return [['starts-with', first, start]];
}

/** A condition of one value. Those on key and bucket are made by the signature itself: they may only repeat it. */
function exact(asked: FormRequest, name: string, value: unknown): PostCondition[] {
  const { operation } = asked;
  const lower = name.toLowerCase();
  const own = lower === 'key' ? asked.key : lower === 'bucket' ? asked.bucket : undefined;
  if (own === undefined) return [{ [name]: fieldValue(operation, name, value) }];
  if (value === own) return [];
  throw no(operation, `its condition names another ${lower}`, ONE_KEY);
}

function fieldValue(operation: string, name: string, given: unknown): string {
  const { value } = fieldOf(operation, name);
  const text = plainText(operation, name, given);
  if (value.test(text)) return text;
  throw no(operation, `the value of the field "${shown(name)}" is not accepted`, LISTED);
}

function plainText(operation: string, name: string, given: unknown): string {
  const field = `the field "${shown(name)}"`;
  if (typeof given !== 'string') throw no(operation, `${field} is not a text`, 'Give a text.');
  // Servers fill in what they know: the condition would hold for another value than the one that was checked.
  if (VARIABLE.test(given)) throw no(operation, `${field} has a variable`, 'Give the value itself.');
  return plainValue(operation, field, given) as string;
}

function fieldOf(operation: string, name: string): FormField {
  const lower = name.toLowerCase();
  const row = FIELDS[lower] ?? FAMILIES.find(({ names }) => names.test(lower))?.row;
  if (row === undefined) {
    throw no(
      operation,
      `nobody has decided whether the field "${shown(name)}" may be in a form`,
      'Leave it out.',
    );
  }
  if ('kind' in row) throw refusal('storage', operation, { ...row, why: `${shown(name)}: ${row.why}` });
  return row;
}

/** Why a plain upload refuses a field, for the form's field of that name. */
function asIn(field: string): RefuseRule {
  const row = rules.PutObjectCommand.rewrite.input[field];
  if (row === undefined || !('kind' in row)) throw new TypeError(`PutObject refuses no ${field}`);
  return row;
}

const ONE_KEY =
  'A form writes the one Key of its Bucket; leave the condition out, or make a form for each key.';
const BYTES = `Give ['${RANGE}', min, max] in bytes, at most ${MAX_BYTES}.`;
const LISTED = 'The README lists what each field may hold.';

const free: FormField = { value: /(?:)/, open: true };
const one = (value: RegExp): FormField => ({ value, open: false });
const SIGNED = refuse('the signature sets it', 'Leave it out.');
const TAGGING = refuse(
  'a form sends tags as XML, which nothing here reads',
  'Keep the values in x-amz-meta-… fields.',
);
const REDIRECT = refuse(
  'the server adds bucket and physical key to the address, and whoever answers there could be told any key',
  'Give success_action_status, and let the page go on by itself.',
);

/** The fields of a form, in lower case: servers read them so. */
const FIELDS: Readonly<Record<string, FormField | RefuseRule>> = Object.assign(
  Object.create(null) as object,
  {
    acl: one(/^(?:private|bucket-owner-full-control)$/),
    'cache-control': free,
    'content-disposition': free,
    'content-encoding': free,
    'content-language': free,
    'content-type': { value: /./su, open: true },
    expires: free,
    success_action_status: one(/^20[014]$/),
    'x-amz-server-side-encryption': one(/^AES256$/),
    'x-amz-storage-class': one(/^[A-Z][A-Z0-9_]*$/),

    redirect: REDIRECT,
    success_action_redirect: REDIRECT,
    tagging: TAGGING,
    'x-amz-tagging': TAGGING,
    'x-amz-website-redirect-location': asIn('WebsiteRedirectLocation'),
    'x-amz-server-side-encryption-aws-kms-key-id': asIn('SSEKMSKeyId'),
    'x-amz-server-side-encryption-context': asIn('SSEKMSEncryptionContext'),

    key: refuse('the option Key names it', 'Leave it out.'),
    bucket: refuse('the option Bucket names it', 'Leave it out.'),
    file: refuse('whoever sends the form adds the file', 'Leave it out.'),
    awsaccesskeyid: SIGNED,
    policy: SIGNED,
    signature: SIGNED,
    'x-amz-algorithm': SIGNED,
    'x-amz-credential': SIGNED,
    'x-amz-date': SIGNED,
    'x-amz-security-token': SIGNED,
    'x-amz-signature': SIGNED,
  },
);

const FAMILIES: readonly { readonly names: RegExp; readonly row: FormField | RefuseRule }[] = [
  {
    names: /^x-amz-meta-tk[-_]/,
    row: refuse('names of metadata that begin with tk- belong to tenantkit', 'Name it otherwise.'),
  },
  { names: /^x-amz-meta-[a-z0-9][a-z0-9._-]*$/, row: free },
  { names: /^x-amz-checksum-[a-z0-9]+$/, row: { value: /^[A-Za-z0-9+/=_-]+$/, open: true } },
  { names: /^x-amz-object-lock-/, row: asIn('ObjectLockMode') },
  { names: /^x-amz-(?:acl|grant-.*)$/, row: asIn('GrantRead') },
];

const PLACES: ReadonlySet<string> = new Set(['key', 'bucket']);

const NO_CONDITION = refuse(
  'it has a condition that is none',
  "Give { name: value }, ['eq', '$name', value], ['starts-with', '$name', start] or ['content-length-range', min, max].",
);
const NO_LENGTH = refuse(
  'it would take a file of any length',
  "Give the condition ['content-length-range', min, max] in bytes; tenant: { anyLength: true } lifts this.",
);
const NO_TYPE = refuse(
  'it would take a file of any type',
  "Give Fields a Content-Type, or the condition ['starts-with', '$Content-Type', 'image/']; tenant: { anyType: true } lifts this.",
);

function isLength(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0 && value <= MAX_BYTES;
}

function typeName(condition: PostCondition): string | undefined {
  const name = Array.isArray(condition) ? String(condition[1]).slice(1) : Object.keys(condition)[0];
  return name?.toLowerCase();
}

function no(operation: string, why: string, instead: string): ReturnType<typeof refusal> {
  return refusal('storage', operation, refuse(why, instead));
}

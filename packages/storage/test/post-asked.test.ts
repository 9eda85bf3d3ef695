import { OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import { readForm, type FormParts, type FormRequest } from '../src/post-fields.ts';

// The reading of what is asked of a form, by itself.

const BUCKET = 'uploads';
const FORM = { fields: { 'Content-Type': 'text/plain' }, conditions: [['content-length-range', 0, 100]] };
const ASKED: FormRequest = {
  operation: 'createPresignedPost',
  bucket: BUCKET,
  key: 'one',
  ...FORM,
};
const field = (name: string, value: unknown): Partial<FormRequest> => ({
  fields: { ...FORM.fields, [name]: value },
});
const condition = (one: unknown): Partial<FormRequest> => ({ conditions: [...FORM.conditions, one] });
const readForms = (more: Partial<FormRequest>): FormParts => readForm({ ...ASKED, ...more });

const RANGE =
  "content-length-range has no two numbers of bytes, the lesser first. Give ['content-length-range', min, max] in bytes, at most 5368709120.";
const NONE =
  "it has a condition that is none. Give { name: value }, ['eq', '$name', value], ['starts-with', '$name', start] or";
const ONE_KEY =
  'A form writes the one Key of its Bucket; leave the condition out, or make a form for each key.';
const TAGS = 'a form sends tags as XML, which nothing here reads. Keep the values in x-amz-meta-… fields.';
const REDIRECT =
  'the server adds bucket and physical key to the address, and whoever answers there could be told any key. Give success_action_status, and let the page go on by itself.';
const NO_TYPE =
  "it would take a file of any type. Give Fields a Content-Type, or the condition ['starts-with',";

describe('what is asked of a form', () => {
  it.each<[Partial<FormRequest>, conditions: unknown[]]>([
    [{}, []],
    [field('acl', 'bucket-owner-full-control'), []],
    [field('success_action_status', '204'), []],
    [field('x-amz-server-side-encryption', 'AES256'), []],
    [field('x-amz-storage-class', 'ONEZONE_IA2'), []],
    [field('X-Amz-Meta-A.b_c-1', ''), []],
    [field('x-amz-checksum-sha256', 'aB0+/=_-'), []],
    [condition({ acl: 'private', key: 'one', bucket: BUCKET }), [{ acl: 'private' }]],
    [condition(['eq', '$Key', 'one']), []],
    [condition(['eq', '$Expires', 'x']), [{ Expires: 'x' }]],
    [condition(['starts-with', '$Cache-Control', '']), [['starts-with', '$Cache-Control', '']]],
    [
      condition(['starts-with', '$x-amz-checksum-sha256', 'a']),
      [['starts-with', '$x-amz-checksum-sha256', 'a']],
    ],
    [condition(['content-length-range', 5, 5]), [['content-length-range', 5, 5]]],
    [condition(['content-length-range', 0, 5 * 1024 ** 3]), [['content-length-range', 0, 5 * 1024 ** 3]]],
    [
      { fields: {}, conditions: [...FORM.conditions, ['starts-with', '$Content-Type', 'i']] },
      [['starts-with', '$Content-Type', 'i']],
    ],
    [{ fields: {}, conditions: [...FORM.conditions, { 'content-type': 'i' }] }, [{ 'content-type': 'i' }]],
    [
      { anyType: true, fields: {}, conditions: [...FORM.conditions, ['starts-with', '$Content-Type', '']] },
      [['starts-with', '$Content-Type', '']],
    ],
  ])('%j is taken as it is', (more, conditions) => {
    expect(readForms(more)).toStrictEqual({
      fields: { ...(more.fields ?? FORM.fields) },
      conditions: [...FORM.conditions, ...conditions],
    });
  });

  it('may be of any length or type, where that is said', () => {
    expect(readForms({ conditions: [], anyLength: true })).toEqual({ fields: FORM.fields, conditions: [] });
    expect(readForms({ fields: {}, anyType: true })).toEqual({ fields: {}, conditions: FORM.conditions });
  });

  it.each<[Partial<FormRequest>, string]>([
    [{ key: 'a${filename}' }, `Key has a variable, which the server fills in. ${ONE_KEY}`],
    [field('content-type', 'a'), 'the field "content-type" is given twice. Give it once.'],
    [field('x\u202e', 'a'), String.raw`the field "x\u{202e}" may be in a form. Leave it out.`],
    [
      field('acl', 'xprivate'),
      'the value of the field "acl" is not accepted. The README lists what each field may hold.',
    ],
    [field('acl', 'privatex'), 'the value of the field "acl" is not accepted.'],
    [field('success_action_status', '2000'), 'is not accepted'],
    [field('success_action_status', '1200'), 'is not accepted'],
    [field('success_action_status', '203'), 'is not accepted'],
    [field('x-amz-server-side-encryption', 'AES2560'), 'is not accepted'],
    [field('x-amz-server-side-encryption', 'xAES256'), 'is not accepted'],
    [field('x-amz-storage-class', 'a'), 'is not accepted'],
    [field('x-amz-storage-class', 'A b'), 'is not accepted'],
    [field('x-amz-storage-class', 'aA'), 'is not accepted'],
    [field('x-amz-checksum-crc32', 'a b'), 'is not accepted'],
    [field('x-amz-checksum-crc32', ''), 'is not accepted'],
    [field('expires', 7), 'the field "expires" is not a text. Give a text.'],
    [field('expires', 'a${b}'), 'the field "expires" has a variable. Give the value itself.'],
    [field('expires', 'a\n'), 'the field "expires" has a control character.'],
    [field('x-amz-meta-a b', ''), 'may be in a form'],
    [field('ax-amz-meta-a', ''), 'may be in a form'],
    [field('x-amz-meta--a', ''), 'may be in a form'],
    [field('ax-amz-checksum-a', ''), 'may be in a form'],
    [field('x-amz-checksum-a-b', ''), 'may be in a form'],
    [field('ax-amz-meta-tk-a', ''), 'may be in a form'],
    [field('ax-amz-object-lock-a', ''), 'may be in a form'],
    [field('ax-amz-acl', ''), 'may be in a form'],
    [field('x-amz-acl-a', ''), 'may be in a form'],
    [field('x-amz-grant-read', ''), 'x-amz-grant-read: a grant opens the object'],
    [
      field('x-amz-meta-tk-a', ''),
      'names of metadata that begin with tk- belong to tenantkit. Name it otherwise.',
    ],
    ...[
      'policy',
      'signature',
      'awsaccesskeyid',
      ...'algorithm credential date security-token signature'.split(' ').map((name) => `x-amz-${name}`),
    ].map((name): [Partial<FormRequest>, string] => [
      field(name, ''),
      `${name}: the signature sets it. Leave it out.`,
    ]),
    ...Object.entries({
      key: 'the option Key names it. Leave it out.',
      bucket: 'the option Bucket names it. Leave it out.',
      file: 'whoever sends the form adds the file. Leave it out.',
      tagging: TAGS,
      'x-amz-tagging': TAGS,
      redirect: REDIRECT,
      success_action_redirect: REDIRECT,
    }).map(([name, words]): [Partial<FormRequest>, string] => [
      field(name, ''),
      `is refused: ${name}: ${words}`,
    ]),
    ...[
      'a',
      7,
      null,
      ['eq'],
      ['eq', 'a', 'b'],
      ['eq', 7, 'b'],
      ['like', '$expires', 'a'],
      ['eq', '$expires', 'a', 'b'],
    ].map((one): [Partial<FormRequest>, string] => [condition(one), NONE]),
    [condition(['starts-with', '$bucket', BUCKET]), `its condition leaves bucket open. ${ONE_KEY}`],
    [condition(['starts-with', '$KEY', 'one']), `its condition leaves KEY open. ${ONE_KEY}`],
    [
      condition(['starts-with', '$acl', 'p']),
      'its condition leaves acl open. Give the exact value in Fields.',
    ],
    [condition(['starts-with', '$content-type', '']), NO_TYPE],
    [condition({ Bucket: 'x' }), `its condition names another bucket. ${ONE_KEY}`],
    [condition(['eq', '$key', 'two']), `its condition names another key. ${ONE_KEY}`],
    ...[[1], [1, '2'], ['1', 2], [2, 1], [-1, 2], [0.5, 2], [0, 5 * 1024 ** 3 + 1]].map(
      (bytes): [Partial<FormRequest>, string] => [condition(['content-length-range', ...bytes]), RANGE],
    ),
    [
      { conditions: [] },
      "it would take a file of any length. Give the condition ['content-length-range', min, max] in bytes;",
    ],
    [{ conditions: [['starts-with', '$Expires', '']] }, 'a file of any length'],
    [{ conditions: [{ 'x-amz-meta-a': 'content-length-range' }] }, 'a file of any length'],
    [{ fields: {} }, NO_TYPE],
    [{ fields: { expires: 'content-type' } }, NO_TYPE],
    [{ fields: { 'content-type': '' } }, 'is not accepted'],
  ])('%j is refused: %s', (more, words) => {
    expect(() => readForms(more)).toThrow(OperationRefusedError);
    expect(() => readForms(more)).toThrow('storage.createPresignedPost is refused: ');
    expect(() => readForms(more)).toThrow(words);
    expect(readForms({})).toHaveProperty('fields', FORM.fields);
  });
});

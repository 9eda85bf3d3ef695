import { CrossTenantError } from '@tenantkit/core';
import { describe, expect, it, vi } from 'vitest';
import type { PresignedPost } from '../src/post.ts';
import { assertForm, type ExpectedForm } from '../src/post-check.ts';
import type { Call } from '../src/call.ts';

// The last check of a form, by itself.

const ENDPOINT = 'http://127.0.0.1:9';
const BUCKET = 'uploads';
const FORM = {
  Fields: { 'Content-Type': 'text/plain' },
  Conditions: [['content-length-range', 0, 100] as ['content-length-range', number, number]],
};
const SCOPE = 'AK/20261121/eu/s3/aws4_request';
/** What the SDK's library makes of this form; the tests on servers go through the library itself. */
const make = ({ Expires = 900 }: { readonly Expires?: number } = {}): PresignedPost => {
  const now = new Date().toISOString().replace(/\.\d+Z$/, 'Z');
  const signed = {
    bucket: BUCKET,
    'X-Amz-Algorithm': 'AWS4-HMAC-SHA256',
    'X-Amz-Credential': SCOPE,
    'X-Amz-Date': now.replaceAll(/[-:]/g, ''),
  };
  const all = { ...FORM.Fields, ...signed, key: 'tenants/acme/one' };
  const policy = {
    expiration: new Date(Date.parse(now) + Expires * 1000).toISOString().replace(/\.\d+Z$/, 'Z'),
    conditions: [...FORM.Conditions, ...Object.entries(all).map(([name, value]) => ({ [name]: value }))],
  };
  const Policy = Buffer.from(JSON.stringify(policy)).toString('base64');
  const url = `${ENDPOINT}/${BUCKET}`;
  return { url, fields: { ...all, Policy, 'X-Amz-Signature': 'f'.repeat(64) } };
};

const TOKEN = 'X-Amz-Security-Token';

type Change = (form: PresignedPost) => PresignedPost;
type Policy = Record<string, unknown> & { expiration: string; conditions: unknown[] };

describe('the last check of a form', () => {
  const call = { operation: 'createPresignedPost', tenant: 'acme' } as Call;
  const expected = (more: Partial<ExpectedForm> = {}): ExpectedForm => ({
    url: `${ENDPOINT}/${BUCKET}`,
    bucket: BUCKET,
    key: 'tenants/acme/one',
    fields: FORM.Fields,
    conditions: [...FORM.Conditions],
    Expires: 900,
    ...more,
  });
  const put = (name: string, value: unknown) => (form: PresignedPost) => ({
    ...form,
    fields: { ...form.fields, [name]: value as string },
  });
  const without =
    (name: string) =>
    ({ url, fields }: PresignedPost) => {
      const { [name]: _gone, ...rest } = fields;
      return { url, fields: rest };
    };
  const text = (change: (text: string) => string) => (form: PresignedPost) =>
    put('Policy', Buffer.from(change(policyOf(form))).toString('base64'))(form);
  const policyOf = ({ fields }: PresignedPost): string =>
    Buffer.from(fields['Policy'] ?? '', 'base64').toString();
  const policy = (change: (policy: Policy) => void) =>
    text((given) => {
      const parsed = JSON.parse(given) as Policy;
      change(parsed);
      return JSON.stringify(parsed);
    });
  const swap = (from: object, to?: object) =>
    policy(({ conditions }) => {
      const at = conditions.findIndex((one) => JSON.stringify(one) === JSON.stringify(from));
      expect(at).toBeGreaterThanOrEqual(0);
      conditions.splice(at, 1, ...(to === undefined ? [] : [to]));
    });
  const both = (name: string, value: string) => (form: PresignedPost) => {
    const change = policy(({ conditions }) => {
      const at = conditions.findIndex((one) => Object.hasOwn(Object(one) as object, name));
      conditions.splice(at < 0 ? 0 : at, at < 0 ? 0 : 1, { [name]: value });
    });
    return put(name, value)(change(form));
  };
  const KEY = { key: 'tenants/acme/one' };

  it.each<[string, (form: PresignedPost) => PresignedPost]>([
    ['another host', (form) => ({ ...form, url: form.url.replace('127.0.0.1', '127.0.0.2') })],
    ['another bucket in the address', (form) => ({ ...form, url: `${form.url}-2` })],
    ['an object in the address', (form) => ({ ...form, url: `${form.url}/tenants/acme2/one` })],
    ['another key', put('key', 'tenants/acme2/one')],
    ['no key', without('key')],
    ['another bucket', put('bucket', 'another')],
    ['no bucket', without('bucket')],
    ['another type', put('Content-Type', 'text/html')],
    ['a further field', put('acl', 'public-read')],
    ['no policy', without('Policy')],
    ['no signature', without('X-Amz-Signature')],
    ['a signature that is none', put('X-Amz-Signature', 'x')],
    ['another algorithm', put('X-Amz-Algorithm', 'AWS4-HMAC-SHA1')],
    [
      'another service',
      (form) => put('X-Amz-Credential', form.fields['X-Amz-Credential']?.replace('/s3/', '/sts/'))(form),
    ],
    ['another algorithm, signed', both('X-Amz-Algorithm', 'AWS4-HMAC-SHA1')],
    ['another service, signed', both('X-Amz-Credential', 'AK/20261121/us-east-1/sts/aws4_request')],
    ['a date to come, signed', both('X-Amz-Date', '20990101T000000Z')],
    ['a token with a line break, signed', both('X-Amz-Security-Token', 'a\nb')],
    ['no date', without('X-Amz-Date')],
    ['a date to come', put('X-Amz-Date', '20990101T000000Z')],
    ['a token that was not signed', put('X-Amz-Security-Token', 'token')],
    ['a policy without its key', swap(KEY)],
    ['a policy for another key', swap(KEY, { key: 'tenants/acme2/one' })],
    ['a policy for keys that begin so', swap(KEY, ['starts-with', '$key', 'tenants/acme/one'])],
    [
      'a policy with a further key',
      policy(({ conditions }) => void conditions.push({ key: 'tenants/acme2/one' })),
    ],
    ['a policy without its type', swap({ 'Content-Type': 'text/plain' })],
    ['a policy of any type', swap({ 'Content-Type': 'text/plain' }, ['starts-with', '$Content-Type', ''])],
    ['a policy without its length', swap(['content-length-range', 0, 100])],
    ['a policy of another length', swap(['content-length-range', 0, 100], ['content-length-range', 0, 1000])],
    [
      'a policy with a further condition',
      policy(({ conditions }) => void conditions.push(['starts-with', '$acl', ''])),
    ],
    ['a policy that lives longer', policy((one) => void (one.expiration = '2099-01-01T00:00:00Z'))],
    [
      'a policy with an expiration of another form',
      policy((one) => void (one.expiration = new Date().toUTCString())),
    ],
    ['a policy with more in it', policy((one) => void (one['more'] = 1))],
    [
      'a policy whose expiration stands twice',
      text((one) => `{"expiration":"2099-01-01T00:00:00Z",${one.slice(1)}`),
    ],
    ['a policy with blanks', text((one) => `${one} `)],
    ['a policy that is none', text(() => '[]')],
    ['a policy that is not JSON', text(() => '{')],
    ['a policy in another spelling', (form) => put('Policy', `${form.fields['Policy']}=`)(form)],
  ])('stops %s', (_what, change) => {
    const form = make();
    expect(assertForm(form, call, expected())).toEqual(form);
    expect(() => assertForm(change(form), call, expected())).toThrow(CrossTenantError);
  });

  it.each<[string, (form: PresignedPost) => PresignedPost]>([
    ['a slash behind its address', (form) => ({ ...form, url: `${form.url}/` })],
    ['a token of the session', both(TOKEN, 'aZ09/+=!~')],
  ])('takes %s', (_what, change) => {
    const form = change(make());
    expect(assertForm(form, call, expected())).toEqual(form);
  });

  const malformed = (name: string, value: unknown): [string, Change] => [
    `its field ${name} is malformed`,
    both(name, value as string),
  ];
  const HOST = 'it would be sent to another host or bucket';
  const UNREADABLE = 'its policy is not one that can be read in one way only';
  const LONGER = 'it would live longer than asked for';
  const ends = (change: (end: string) => string): Change =>
    policy((one) => void (one.expiration = change(one.expiration)));

  it.each<[why: string, Change]>([
    [HOST, (form) => ({ ...form, url: `${form.url}x` })],
    [HOST, (form) => ({ ...form, url: undefined as never })],
    ...['', 'xAWS4-HMAC-SHA256', 'AWS4-HMAC-SHA256x', ['AWS4-HMAC-SHA256']].map((value) =>
      malformed('X-Amz-Algorithm', value),
    ),
    ...[`a/${SCOPE}`, `${SCOPE}x`, `/${SCOPE}`].map((value) => malformed('X-Amz-Credential', value)),
    ...['x20261121T000000Z', '20261121T000000Zx'].map((value) => malformed('X-Amz-Date', value)),
    ...['', 'a\nb', 'a b', 'é'].map((value) => malformed(TOKEN, value)),
    ['its field X-Amz-Date is malformed', without('X-Amz-Date')],
    ['its fields are not those that were asked for', put('acl', 'public-read')],
    ['its fields are not those that were asked for', put('Content-Type', 'text/html')],
    ...['', `${'f'.repeat(64)}a`, `a${'f'.repeat(64)}`, 'F'.repeat(64), ['f'.repeat(64)]].map(
      (value): [string, Change] => ['its signature is malformed', put('X-Amz-Signature', value)],
    ),
    ['its policy does not hold the conditions that were asked for, and those alone', swap(KEY)],
    [UNREADABLE, without('Policy')],
    ...['null', '7', '"a"', '[]', '{}', ''].map((one): [string, Change] => [UNREADABLE, text(() => one)]),
    [UNREADABLE, policy((one) => void (one.expiration = 7 as never))],
    [UNREADABLE, policy((one) => void delete (one as Partial<Policy>).expiration)],
    [UNREADABLE, policy((one) => void (one.conditions = {} as never))],
    [LONGER, ends(() => '2099-01-01T00:00:00Z')],
    // What is parsed as a date, and is none in the one form.
    [LONGER, ends((end) => `a ${end}`)],
    [LONGER, ends((end) => `${end} (a)`)],
  ])('says why it stops a form: %s', (why, change) => {
    const form = make();
    expect(assertForm(form, call, expected())).toEqual(form);
    const stopped = (): unknown => assertForm(change(form), call, expected());
    expect(stopped).toThrow(CrossTenantError);
    expect(stopped).toThrow(`storage.createPresignedPost: the form was stopped: ${why}`);
  });

  it('takes one that was made at this very moment, for as long as asked for', () => {
    vi.useFakeTimers({ now: Date.UTC(2026, 10, 21) });
    try {
      const form = make();
      expect(assertForm(form, call, expected())).toEqual(form);
      vi.setSystemTime(Date.UTC(2026, 10, 21) - 1);
      expect(() => assertForm(form, call, expected())).toThrow(LONGER);
    } finally {
      vi.useRealTimers();
    }
  });

  it('stops a life that is longer than asked for', () => {
    const form = make({ Expires: 60 });
    expect(() => assertForm(form, call, expected({ Expires: 60 }))).not.toThrow();
    expect(() => assertForm(form, call, expected({ Expires: 58 }))).toThrow('longer than asked for');
  });
});

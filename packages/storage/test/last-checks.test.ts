import { CrossTenantError, OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { Call } from '../src/call.ts';
import { assertHeaders, assertQuery } from '../src/carried.ts';
import type { InputFields } from '../src/fields/index.ts';
import { assertRequest } from '../src/guard.ts';
import { assertLife, timestamp } from '../src/life.ts';
import { assertErrand, assertPinned } from '../src/pinned.ts';
import { KEY, callOf } from './calls.ts';
import { OBJECT, TARGET, make } from './requests.ts';

// The parts of the last check of a request, each by itself.

const NOW = Date.UTC(2026, 10, 21, 12, 30, 15);
const call = (): Call => callOf('PutObjectCommand', KEY);

describe('the life of a URL', () => {
  const lives = (expires: unknown, date: unknown = '20261121T123015Z'): void =>
    assertLife(
      new Map([
        ['X-Amz-Expires', expires],
        ['X-Amz-Date', date],
      ]),
      call(),
      {
        maxExpiresIn: 900,
        now: NOW,
      },
    );

  it.each<[expires: unknown, date?: string]>([
    ['1'],
    ['900'],
    ['900', '20261121T123115Z'],
    ['900', '20251121T123015Z'],
  ])('of %s seconds from %s on is short enough', (...life) => {
    expect(() => lives(...life)).not.toThrow();
  });

  it.each<[expires: unknown, date?: unknown]>([
    ['0'],
    ['0.5'],
    ['901'],
    ['-1'],
    ['x'],
    [undefined],
    ['900', '20261121T123116Z'],
    ['900', '2026-11-21T12:30:15Z'],
    ['900', null],
  ])('of %s seconds from %s on is refused', (...life) => {
    expect(() => lives(...life)).toThrow(OperationRefusedError);
    expect(() => lives(...life)).toThrow(
      'storage.PutObjectCommand is refused: the URL would live longer than allowed. Ask for at most 900 seconds from now, or raise the client option tenant.maxExpiresIn.',
    );
    expect(() => lives(...life)).toThrow(expect.objectContaining({ reason: 'value' }));
  });

  it('begins at a time in the one form of SigV4', () => {
    expect(timestamp('20261121T123015Z')).toBe(NOW);
    for (const none of [
      'a20261121T123015Z',
      '20261121T123015Za',
      '20261121t123015Z',
      '2026112aT123015Z',
      '20261121T12301Z',
      '20261121123015',
      '',
      7,
      undefined,
      ['20261121T123015Z'],
    ])
      expect(timestamp(none)).toBeNaN();
  });
});

describe('what was decided about a request', () => {
  const pinned = (headers: object): void =>
    assertPinned(new Map(Object.entries(headers) as [string, string][]), {
      ...call(),
      pinned: new Map<string, string | undefined>([
        ['x-amz-meta-tk-subject', 'p1'],
        ['x-amz-metadata-directive', undefined],
      ]),
    });
  const SUBJECT = { 'x-amz-meta-tk-subject': 'p1' };

  it('stands in headers that leave as they were made', () => {
    for (const more of [{}, { 'x-amz-meta-a': 'b' }, { 'x-amz-meta-tk': 'b' }, { 'a-x-amz-meta-tk-b': '' }])
      expect(() => pinned({ ...SUBJECT, ...more })).not.toThrow();
  });

  it.each([
    [{}, 'its header x-amz-meta-tk-subject was taken away or changed'],
    [{ 'x-amz-meta-tk-subject': 'p2' }, 'its header x-amz-meta-tk-subject was taken away or changed'],
    [
      { ...SUBJECT, 'x-amz-metadata-directive': 'COPY' },
      'its header x-amz-metadata-directive was taken away or changed',
    ],
    [{ ...SUBJECT, 'x-amz-meta-tk-other': '' }, 'it carries metadata that is reserved'],
    [{ ...SUBJECT, 'x-amz-meta-tk_subject': 'p2' }, 'it carries metadata that is reserved'],
  ])('stops it with %j', (headers, why) => {
    expect(() => pinned(headers)).toThrow(CrossTenantError);
    expect(() => pinned(headers)).toThrow(`the request was stopped: ${why}`);
  });
});

describe('a request of the client’s own', () => {
  const sent = (body: unknown, versionId?: string, errand = 'a'): void =>
    assertErrand({ ...make('PUT', OBJECT), body }, new Map(Object.entries({ versionId })), {
      ...call(),
      errand: { body: errand },
      sealed: new Map([['versionId', 'v1']]),
    });

  it('has the body that it was made with, and looks at the version that was asked for', () => {
    for (const body of ['a', Buffer.from('a')]) expect(() => sent(body, 'v1')).not.toThrow();
    expect(() => sent(undefined, 'v1', '')).not.toThrow();
    for (const body of ['b', Buffer.from('b'), undefined, { a: 1 }]) {
      expect(() => sent(body, 'v1')).toThrow(CrossTenantError);
      expect(() => sent(body, 'v1')).toThrow('the body of its marker was changed');
    }
    for (const version of ['v2', undefined]) {
      expect(() => sent('a', version)).toThrow(CrossTenantError);
      expect(() => sent('a', version)).toThrow('it would look at another version of its source');
    }
  });
});

describe('a request about a person, or of the client’s own', () => {
  const LABELLED = { 'x-amz-meta-tk-subject': 'p1' };
  const kinds: readonly (readonly [string, of: () => Call, headers: object])[] = [
    ['a person', () => ({ ...call(), pinned: new Map(Object.entries(LABELLED)) }), LABELLED],
    ['a marker', () => ({ ...call(), errand: { body: '' } }), {}],
  ];

  it.each(kinds)('goes to the very key that it was made for (%s)', (_what, of, headers) => {
    const sent = (path: string, to: Call = of(), carried = headers): void =>
      assertRequest(make('PUT', path, {}, carried), to, TARGET);
    expect(() => sent(OBJECT)).not.toThrow();
    for (const other of ['tenants/acme/b', 'undefined', 'tenants/acme2/a']) {
      expect(() => sent(`/acme.up/${other}`)).toThrow(CrossTenantError);
      expect(() => sent(`/acme.up/${other}`)).toThrow("its path lies outside the tenant's part");
    }
    // An ordinary one may be sent to another key of the tenant.
    expect(() => sent('/acme.up/tenants/acme/b', call(), {})).not.toThrow();
  });

  it('is what it was made as', () => {
    const [[, labelled], [, errand]] = kinds as [(typeof kinds)[number], (typeof kinds)[number]];
    expect(() => assertRequest(make('PUT', OBJECT), labelled(), TARGET)).toThrow(
      'its header x-amz-meta-tk-subject was taken away or changed',
    );
    const changed = { ...make('PUT', OBJECT), body: 'x' };
    expect(() => assertRequest(changed, errand(), TARGET)).toThrow('the body of its marker was changed');
    expect(() => assertRequest(changed, call(), TARGET)).not.toThrow();
  });
});

describe('a parameter or header of a kind that nobody has thought of', () => {
  const of = (input: InputFields): Call => ({ ...call(), plan: { ...call().plan, input } });

  it('is stopped in a query, whatever it says', () => {
    const read = (as: 'same' | 'copySource'): void =>
      assertQuery(new Map([['new', 'a']]), new Map(), of({ New: { as, query: 'new' } }), TARGET, false);
    expect(() => read('same')).not.toThrow();
    expect(() => read('copySource')).toThrow(CrossTenantError);
    expect(() => read('copySource')).toThrow('its parameter new was changed after it was checked');
  });

  it('passes as a header only with the values of its row', () => {
    const read = (value: string): void =>
      assertHeaders(
        new Map([['x-new', value]]),
        of({ New: { as: 'same', header: 'x-new', values: ['a'] } }),
        TARGET,
      );
    expect(() => read('a')).not.toThrow();
    expect(() => read('b')).toThrow('carries a value of the header "x-new" that the rules do not allow');
  });
});

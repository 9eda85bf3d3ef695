import { refuse } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import { SIGNATURE, allowed, requiredOf, type Allowed } from '../src/allowed.ts';
import { header, leaf, query, table, type InputField, type InputFields } from '../src/fields/types.ts';
import { startOf } from './calls.ts';

// Tables of the test's own: what a row lets through is made once for each table, so that one which another test has
// asked about would show nothing.

const REFUSED = refuse('it is', 'Leave it out.');
const { plan } = startOf('GetObjectCommand');
const of = (input: InputFields): Allowed => allowed({ ...plan, input });
/** The headers that say how every request travels. */
const TRAVEL = new Set(of({}).headers.keys());
const headersOf = (input: InputFields): string[] =>
  [...of(input).headers.keys()].filter((name) => !TRAVEL.has(name));

describe('what a table lets through', () => {
  it('is each header and parameter of a field that is not refused', () => {
    const Range = header('range');
    const VersionId = query('versionId');
    const {
      headers,
      query: parameters,
      elements,
      streams,
      families,
    } = of({ Range, VersionId, MFA: REFUSED });
    expect(headers.get('range')).toBe(Range);
    expect([...parameters]).toEqual([['versionId', VersionId]]);
    expect([[...elements], streams, families]).toEqual([[], false, []]);
    expect(headersOf({ Range, VersionId, MFA: REFUSED })).toEqual(['range']);
  });

  it('is each family of headers, by how its names begin', () => {
    const Metadata = { as: 'metadata', header: 'x-amz-meta-*' } as const;
    expect(of({ Metadata, Range: header('range') }).families).toEqual(['x-amz-meta-']);
  });

  it('is each element of a body by its path, and none that is refused', () => {
    const Entry = table({ Key: leaf, Secret: REFUSED });
    const Root: InputField = {
      as: 'record',
      element: 'Root',
      fields: table({
        Quiet: leaf,
        Grant: REFUSED,
        Entries: { as: 'list', element: 'Entries/Entry', fields: Entry },
      } satisfies InputFields),
    };
    const { elements, streams } = of({ Root, Other: { as: 'text', element: 'Query/Other' } });
    expect([...elements.keys()]).toEqual([
      'Root',
      'Root/Quiet',
      'Root/Entries/Entry',
      'Root/Entries/Entry/Key',
      'Query/Other',
    ]);
    expect(elements.get('Root')).toBe(Root);
    expect(elements.get('Root/Entries/Entry/Key')).toBe(leaf);
    expect(streams).toBe(false);
  });

  it('is what the SDK says of a body where there is one, as the field has it or as it is', () => {
    const of3 = ['content-encoding', 'content-md5', 'x-amz-sdk-checksum-algorithm'];
    const Body = { as: 'body' } as const;
    const Text = { as: 'text', element: 'Text' } as const;
    expect(of({ Body }).streams).toBe(true);
    for (const input of [{ Body }, { Text }]) expect(headersOf(input)).toEqual(of3);
    expect(headersOf({ Range: header('range') })).toEqual(['range']);
    const ContentMD5 = header('content-md5');
    expect(of({ Body, ContentMD5 }).headers.get('content-md5')).toBe(ContentMD5);
  });

  it('is found once for each table', () => {
    const input = table({ Key: { ...leaf, required: true as const }, Range: header('range'), MFA: REFUSED });
    const own = { ...plan, input };
    expect(allowed(own)).toBe(allowed(own));
    expect(allowed(own).required).toEqual(['Key']);
    const rows = table({ ...input });
    expect(requiredOf(rows)).toEqual(['Key']);
    expect(requiredOf(rows)).toBe(requiredOf(rows));
  });
});

describe('the parameters of a signature', () => {
  it('are those of SigV4, in its own spelling', () => {
    expect([...SIGNATURE].sort()).toEqual(
      `Algorithm Content-Sha256 Credential Date Expires Region-Set Security-Token Signature SignedHeaders`
        .split(' ')
        .map((name) => `X-Amz-${name}`),
    );
  });
});

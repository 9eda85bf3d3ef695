import { OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { InputFields } from '../src/fields/index.ts';
import { rules, type CommandName } from '../src/rules.ts';
import { KEY, PART, callOf, uploadOf } from './calls.ts';

/** Values for each field that some command must have. */
const GIVEN: Readonly<Record<string, unknown>> = {
  ...KEY,
  UploadId: uploadOf(),
  PartNumber: 1,
  CopySource: 'uploads/a',
  Delete: { Objects: [KEY] },
};

const ALLOWED = Object.entries(rules).flatMap(([name, rule]) =>
  rule.kind === 'rewrite' ? [[name as CommandName, requiredIn(rule.rewrite.input)] as const] : [],
);
const CASES = ALLOWED.flatMap(([name, required]) =>
  required.map((field) => [name, field, required] as const),
);

function requiredIn(rows: InputFields): string[] {
  return Object.entries(rows).flatMap(([name, row]) => ('required' in row ? [name] : []));
}

describe('a field that must be there', () => {
  it('is known of each allowed command', () => {
    expect(ALLOWED).toHaveLength(24);
    expect(CASES.length).toBeGreaterThan(25);
  });

  it.each(CASES)('%s without %s is refused by that name', (name, field, required) => {
    const given = Object.fromEntries(required.map((one) => [one, GIVEN[one]]));
    expect(Object.values(given)).not.toContain(undefined);
    callOf(name, given);
    for (const none of [undefined, null]) {
      const call = (): unknown => callOf(name, { ...given, [field]: none });
      expect(call).toThrow(OperationRefusedError);
      expect(call).toThrow(`${field} is missing`);
    }
  });

  it.each([
    ['Delete.Objects', { Delete: {} }],
    ['Delete.Objects[1].Key', { Delete: { Objects: [KEY, {}] } }],
  ])('of a structure (%s) as well', (field, given) => {
    expect(() => callOf('DeleteObjectsCommand', given)).toThrow(`${field} is missing`);
  });

  it('is missed before an id that goes with it is looked at', () => {
    expect(() => callOf('UploadPartCommand', { ...PART, Key: undefined })).toThrow('Key is missing');
  });
});

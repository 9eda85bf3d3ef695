import * as sdk from '@aws-sdk/client-s3';
import { NormalizedSchema } from '@smithy/core/schema';
import type { Rules } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import {
  deleteObjectsInput,
  getObjectInput,
  listObjectsV2Output,
  type Input,
  type InputFields,
  type Output,
  type OutputField,
  type OutputFields,
} from '../src/fields/index.ts';
import { rules, type CommandName, type CommandPlan } from '../src/rules.ts';

const COMMANDS = Object.keys(sdk).filter((name) => name.endsWith('Command') && name !== '$Command');

const plans = Object.entries(rules).flatMap(([name, rule]) =>
  rule.kind === 'rewrite' ? [[name, rule.rewrite] as const] : [],
);

describe('the rules table', () => {
  it('has one row for every command that the SDK exports, and no other', () => {
    expect(Object.keys(rules).sort()).toEqual(COMMANDS.sort());
    expect(COMMANDS.length).toBeGreaterThanOrEqual(112);
  });

  it('does not compile with a command that has no row, nor with a row that is no command', () => {
    // @ts-expect-error -- a command that an upgrade of the SDK adds
    rules satisfies Rules<CommandName | 'MakeCoffeeCommand', CommandPlan>;
    const { DeleteBucketCommand: _left, ...others } = rules;
    // @ts-expect-error -- a row that somebody has taken away
    others satisfies Rules<CommandName, CommandPlan>;
    rules satisfies Rules<CommandName, CommandPlan>;
    expect(others).not.toHaveProperty('DeleteBucketCommand');
  });

  it('does not compile with a field of an allowed command that nobody has decided about', () => {
    type MoreInput = sdk.GetObjectCommandInput & { readonly SecondKey?: string };
    type MoreOutput = sdk.ListObjectsV2CommandOutput & { readonly OtherKey?: string };
    // @ts-expect-error -- a field that an upgrade of the SDK adds to a request
    getObjectInput satisfies Input<MoreInput>;
    getObjectInput satisfies Input<sdk.GetObjectCommandInput>;
    // @ts-expect-error -- a field that an upgrade of the SDK adds to a reply
    listObjectsV2Output satisfies Output<MoreOutput>;
    listObjectsV2Output satisfies Output<sdk.ListObjectsV2CommandOutput>;
    expect(getObjectInput).not.toHaveProperty('SecondKey');
    expect(listObjectsV2Output).not.toHaveProperty('OtherKey');
  });

  it('does not compile with a part of a structure that nobody has decided about', () => {
    type More = sdk.ObjectIdentifier & { readonly OtherKey?: string };
    const { fields } = deleteObjectsInput.Delete.fields.Objects;
    // @ts-expect-error -- a part that an upgrade of the SDK adds to a structure
    fields satisfies Input<More>;
    fields satisfies Input<sdk.ObjectIdentifier>;
    expect(fields).not.toHaveProperty('OtherKey');
  });

  it('allows what works on the objects, uploads and listings of one tenant', () => {
    expect(plans.map(([name]) => name.replace(/Command$/, '')).sort()).toEqual([
      'AbortMultipartUpload',
      'CompleteMultipartUpload',
      'CopyObject',
      'CreateMultipartUpload',
      'DeleteObject',
      'DeleteObjectTagging',
      'DeleteObjects',
      'GetObject',
      'GetObjectAttributes',
      'GetObjectLegalHold',
      'GetObjectRetention',
      'GetObjectTagging',
      'HeadObject',
      'ListMultipartUploads',
      'ListObjectVersions',
      'ListObjects',
      'ListObjectsV2',
      'ListParts',
      'PutObject',
      'PutObjectTagging',
      'RestoreObject',
      'SelectObjectContent',
      'UploadPart',
      'UploadPartCopy',
    ]);
  });

  it('says of every refused row why, as a clause, and what to do instead, as a sentence', () => {
    for (const [name, rule] of Object.entries(rules)) {
      if (rule.kind !== 'refuse') continue;
      expect(rule.why, name).toMatch(/^[a-z].*[^.]$/);
      expect(rule.instead, name).toMatch(/^[A-Z].*\.$/);
    }
  });

  it('has no row for what every object has', () => {
    for (const name of ['constructor', 'toString', '__proto__']) expect(name in rules).toBe(false);
    for (const [, { input, output }] of plans) {
      for (const name of ['constructor', '__proto__']) {
        expect(name in input).toBe(false);
        expect(name in output).toBe(false);
      }
    }
  });
});

describe.each(plans)('%s', (name, plan) => {
  const schema = operationOf(name);

  it('decides about every field of the request and of the reply', () => {
    expect(() => decides(plan.input, schema.input)).not.toThrow();
    expect(() => answers(plan.output, schema.output)).not.toThrow();
  });

  it('knows how every allowed field travels', () => {
    for (const [member, traits] of membersOf(schema.input)) {
      const row = plan.input[member];
      if (row === undefined || 'kind' in row) continue;
      const family =
        traits['httpPrefixHeaders'] === undefined ? undefined : `${traits['httpPrefixHeaders'] as string}*`;
      const header = (traits['httpHeader'] as string | undefined)?.toLowerCase() ?? family;
      expect({ header: row.header, query: row.query }, member).toEqual({
        header,
        query: traits['httpQuery'],
      });
    }
  });

  it('knows its method and the fixed part of its query', () => {
    const [method, path] = schema.http;
    expect(plan.method).toBe(method);
    expect(plan.target === 'object').toBe(path.startsWith('/{Key+}'));
    const fixed = Object.fromEntries(new URL(path, 'http://h').searchParams);
    expect({ ...plan.fixed.may, ...plan.fixed.must }).toMatchObject(fixed);
  });
});

/** Every field of a request has a row, and every part of a structure that is rewritten, as it stands in the XML. */
function decides(rows: InputFields, schema: NormalizedSchema, path = ''): void {
  const members = [...schema.structIterator()];
  expect(Object.keys(rows).sort(), path).toEqual(members.map(([member]) => member).sort());
  for (const [member, type] of members) {
    const row = rows[member];
    if (row === undefined || 'kind' in row) continue;
    const inside = type.isListSchema() ? type.getValueSchema() : type;
    const at = `${path}${member}`;
    if (row.as === 'record' || row.as === 'list') {
      expect(row.as, at).toBe(type.isListSchema() ? 'list' : 'record');
      decides(row.fields ?? {}, inside, `${at}.`);
    } else expect(inside.isStructSchema(), at).toBe(false);
    const traits = type.getMergedTraits();
    const name = traits.xmlName ?? member;
    if (path === '' && traits.httpPayload === undefined) {
      const isElsewhere = ELSEWHERE.some((trait) => trait in traits);
      expect(row.element, at).toBe(isElsewhere ? undefined : `${schema.getName()}/${name}`);
      continue;
    }
    const [list] = type.isListSchema() && traits.xmlFlattened === undefined ? [elementOf(type)] : [];
    expect(row.element ?? member, at).toBe(list === undefined ? name : `${name}/${list}`);
  }
}

/** How a member says that it is no element of the body. */
const ELSEWHERE = ['httpHeader', 'httpPrefixHeaders', 'httpQuery', 'httpLabel'];

function elementOf(list: NormalizedSchema): string {
  return list.getValueSchema().getMergedTraits().xmlName ?? 'member';
}

/** Every field of a reply has a row; structures that are read hold no key that was passed over. */
function answers(rows: OutputFields, schema: NormalizedSchema): void {
  const members = [...schema.structIterator()];
  expect(Object.keys(rows).sort()).toEqual(members.map(([member]) => member).sort());
  for (const [member, type] of members) {
    const row: OutputField | undefined = rows[member];
    if (typeof row === 'object') {
      const [key] = Object.keys(row);
      expect(key, member).toBe(type.isListSchema() ? 'each' : 'of');
      answers('of' in row ? row.of : row.each, type.isListSchema() ? type.getValueSchema() : type);
    } else if (row === 'same') expect(namesIn(type), member).toEqual([]);
  }
}

/** What in a structure is called like something that names. Tags have keys, too. */
function namesIn(type: NormalizedSchema): string[] {
  const inside = type.isListSchema() ? type.getValueSchema() : type;
  if (!inside.isStructSchema() || inside.getName() === 'Tag') return [];
  return [...inside.structIterator()].flatMap(([member, part]) =>
    /Key$|Prefix|Bucket|Marker$|UploadId|Location|Path/.test(member) ? [member] : namesIn(part),
  );
}

interface Operation {
  readonly http: readonly [method: string, path: string];
  readonly input: NormalizedSchema;
  readonly output: NormalizedSchema;
}

/** The SDK's own description of a command, which its serialiser works from. */
function operationOf(command: string): Operation {
  const schema =
    (sdk as unknown as Record<string, readonly unknown[]>)[command.replace(/Command$/, '$')] ?? [];
  const [, , , traits, input, output] = schema;
  return {
    http: (traits as { http: [string, string] }).http,
    input: NormalizedSchema.of(input as never),
    output: NormalizedSchema.of(output as never),
  };
}

function membersOf(schema: NormalizedSchema): (readonly [string, Record<string, unknown>])[] {
  return [...schema.structIterator()].map(([name, member]) => [
    name,
    member.getMergedTraits() as Record<string, unknown>,
  ]);
}

import * as sdk from '@aws-sdk/client-s3';
import { NormalizedSchema } from '@smithy/core/schema';
import { refuse } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { InputField, InputFields, InputRole, OutputField, OutputFields } from '../src/fields/index.ts';
import { rules, type CommandPlan } from '../src/rules.ts';

// The tables, held against what fields are called in the SDK's own schemas: a field that names something must be made
// physical, or logical, as what it is.

const plans = Object.entries(rules).flatMap(([name, rule]) =>
  rule.kind === 'rewrite' ? [[name, rule.rewrite] as const] : [],
);

/** What an allowed field of a request holds, by its name; everything else names nothing. */
const HOLDS: readonly (readonly [RegExp, InputRole])[] = [
  [/^Bucket$/, 'bucket'],
  [/^Key$/, 'key'],
  [/^Prefix$/, 'prefix'],
  [/^(?:Key)?Marker$|^StartAfter$/, 'marker'],
  [/^ContinuationToken$/, 'token'],
  [/^UploadId$/, 'uploadId'],
  [/^UploadIdMarker$/, 'uploadIdMarker'],
  [/^VersionId(?:Marker)?$/, 'version'],
  [/^CopySource$/, 'copySource'],
  [/^Body$/, 'body'],
  [/^Metadata$/, 'metadata'],
  [/^Tagging$/, 'tags'],
];
/** Of which a tenant may give some values only. */
const VALUES: Readonly<Record<string, string | undefined>> = {
  ACL: 'private,bucket-owner-full-control',
  EncodingType: 'url',
  MetadataDirective: 'COPY,REPLACE',
  TaggingDirective: 'COPY,REPLACE',
};
/** In XML, where it is text of the caller's. */
const TEXT = /^(?:Expression|Comments)$|^(?!Allow).*(?:Delimiter|Character)$/;
const REFUSED =
  /^(?:Grant|SSEKMS|ObjectLock|WebsiteRedirect|WriteOffset)|^(?:MFA|BypassGovernanceRetention|AnnotationDirective|SelectParameters|OutputLocation)$/;
/** Required by the SDK, but nothing else would be done without them, or the client may fill them in. */
const LEFT_TO_SERVERS =
  /^(?:Bucket|Tagging|TagSet|Value|ObjectAttributes|Tier|Expression|ExpressionType|InputSerialization|OutputSerialization|TagKey)$/;

const READS: readonly (readonly [RegExp, OutputField])[] = [
  [/^(?:Bucket|Name)$/, 'bucket'],
  [/^Key$/, 'key'],
  [/^Prefix$/, 'prefix'],
  [/^(?:Next)?(?:Key)?Marker$|^StartAfter$/, 'marker'],
  [/^(?:ContinuationToken|UploadIdMarker)$/, 'echo'],
  [/^NextContinuationToken$/, 'nextToken'],
  [/^UploadId$/, 'uploadId'],
  [/^NextUploadIdMarker$/, 'nextUploadIdMarker'],
  [/^Location$/, 'location'],
  [/^Metadata$/, 'metadata'],
  [/^Message$/, 'text'],
  [/^RestoreOutputPath$/, 'withheld'],
];

/** What is wrong with the fields of a request, or of a structure in it. */
function wrongInputs(rows: InputFields, schema: NormalizedSchema, path = ''): string[] {
  const members = [...schema.structIterator()];
  const required = new Set(members.slice(0, requiredIn(schema)).map(([name]) => name));
  const found = members.flatMap(([name, type]) => {
    const at = `${path}${name}`;
    const row = rows[name];
    const isRefused = REFUSED.test(name) || at === 'RestoreRequest.Type';
    if (row === undefined || 'kind' in row) return isRefused === (row !== undefined) ? [] : [at];
    const inside = type.isListSchema() ? type.getValueSchema() : type;
    const traits = type.getMergedTraits();
    const values = VALUES[name];
    const must =
      required.has(name) &&
      !LEFT_TO_SERVERS.test(name) &&
      !/^(?:Completed|Tag$)/.test(schema.getName() ?? '');
    return [
      ...(isRefused || row.as !== heldBy(name, type, schema) ? [at] : []),
      ...((row.required ?? false) === must ? [] : [`${at} must be there, or need not`]),
      ...(row.values?.join() === values ? [] : [`the values of ${at}`]),
      ...(row.header === undefined && row.query === undefined ? [] : travels(row, traits, at)),
      ...(inside.isStructSchema() ? wrongInputs(row.fields ?? {}, inside, `${at}.`) : []),
    ];
  });
  return [...found, ...Object.keys(rows).filter((name) => !members.some(([member]) => member === name))];
}

function travels(row: InputField, traits: object, at: string): string[] {
  const { httpHeader, httpPrefixHeaders, httpQuery } = traits as Record<string, string | undefined>;
  const header = httpPrefixHeaders === undefined ? httpHeader?.toLowerCase() : `${httpPrefixHeaders}*`;
  return row.header === header && row.query === httpQuery ? [] : [`how ${at} travels`];
}

function heldBy(name: string, type: NormalizedSchema, within: NormalizedSchema): InputRole {
  const traits = type.getMergedTraits();
  if (type.isStructSchema()) return 'record';
  if (type.isListSchema() && type.getValueSchema().isStructSchema()) return 'list';
  if (within.getName() === 'Tag') return name === 'Key' ? 'tagKey' : 'same';
  if (name === 'PartNumber') return traits.httpQuery === undefined ? 'same' : 'partNumber';
  const travelsInXml = traits.httpQuery === undefined && traits.httpHeader === undefined;
  if (travelsInXml && TEXT.test(name)) return 'text';
  return HOLDS.find(([names]) => names.test(name))?.[1] ?? 'same';
}

/** What is wrong with the fields of a reply, or of a structure in it. */
function wrongOutputs(rows: OutputFields, schema: NormalizedSchema, path = ''): string[] {
  const members = [...schema.structIterator()];
  const found = members.flatMap(([name, type]) => {
    const row: OutputField | undefined = rows[name];
    const inside = type.isListSchema() ? type.getValueSchema() : type;
    const at = `${path}${name}`;
    if (typeof row === 'object') {
      const [fields, isList] = 'each' in row ? [row.each, true] : [row.of, false];
      return isList === type.isListSchema() && inside.isStructSchema()
        ? wrongOutputs(fields, inside, `${at}.`)
        : [at];
    }
    if (inside.isStructSchema() && holdsNames(inside)) return [at];
    const expected = READS.find(([names]) => names.test(name))?.[1] ?? 'same';
    return row === expected ? [] : [at];
  });
  return [...found, ...Object.keys(rows).filter((name) => !members.some(([member]) => member === name))];
}

function holdsNames(schema: NormalizedSchema): boolean {
  return (
    schema.getName() !== 'Tag' &&
    [...schema.structIterator()].some(([name]) => READS.some(([names]) => names.test(name)))
  );
}

function wrong(name: string, plan: CommandPlan): string[] {
  const { http, input, output } = schemasOf(name);
  const { 'x-id': may, ...must } = Object.fromEntries(new URL(http[1], 'http://h').searchParams);
  const lists = [...input.structIterator()].some(([member]) => member === 'Prefix');
  const target = http[1].startsWith('/{Key+}') ? 'object' : lists ? 'listing' : 'batch';
  const expected = [http[0], target, must, may === undefined ? {} : { 'x-id': may }];
  const { method, fixed } = plan;
  const isSame = JSON.stringify([method, plan.target, fixed.must, fixed.may]) === JSON.stringify(expected);
  return [
    ...(isSame ? [] : ['its path']),
    ...wrongInputs(plan.input, input),
    ...wrongOutputs(plan.output, output),
  ];
}

interface Schemas {
  readonly http: readonly [method: string, path: string];
  readonly input: NormalizedSchema;
  readonly output: NormalizedSchema;
}

function schemasOf(command: string): Schemas {
  const schemas = sdk as unknown as Readonly<Record<string, readonly unknown[]>>;
  const [, , , traits, input, output] = schemas[command.replace(/Command$/, '$')] ?? [];
  const { http } = traits as Pick<Schemas, 'http'>;
  return { http, input: NormalizedSchema.of(input as never), output: NormalizedSchema.of(output as never) };
}

/** How many of a structure's members are required; they stand first. */
function requiredIn(schema: NormalizedSchema): number {
  const [, , , , , , count = 0] = schema.getSchema() as unknown as readonly unknown[];
  return count as number;
}

const INPUTS: readonly InputRole[] = [
  ...new Set(HOLDS.map(([, role]) => role)),
  'partNumber',
  'tagKey',
  'text',
  'record',
  'list',
  'same',
];
const OUTPUTS: readonly OutputField[] = [...READS.map(([, role]) => role), 'same'];

describe.each(plans)('%s', (name, plan) => {
  it('makes of each field what its name says', () => {
    expect(wrong(name, plan)).toEqual([]);
  });

  it('shows when a field that names something is taken for another, or for nothing', () => {
    const { input, output } = schemasOf(name);
    for (const [field, row] of Object.entries(plan.input)) {
      if ('kind' in row || row.as === 'same') continue;
      const others: InputFields[string][] = INPUTS.map((as) => ({ ...row, as }));
      for (const other of [...others, refuse('', '')]) {
        const isNoticed = wrongInputs({ ...plan.input, [field]: other }, input).length > 0;
        expect(isNoticed, `${field} ${JSON.stringify(other)}`).toBe('kind' in other || other.as !== row.as);
      }
    }
    for (const [field, row] of Object.entries(plan.output)) {
      if (typeof row !== 'string' || row === 'same') continue;
      for (const other of OUTPUTS) {
        const isNoticed = wrongOutputs({ ...plan.output, [field]: other }, output).length > 0;
        expect(isNoticed, `${field} ${JSON.stringify(other)}`).toBe(other !== row);
      }
    }
  });

  it('shows when it is taken for another command', () => {
    for (const [other, taken] of plans) expect(wrong(name, taken).length > 0, other).toBe(other !== name);
  });
});

describe('the rows', () => {
  it('may be presigned where neither a reply nor a body holds names', () => {
    const presigned = plans.flatMap(([name, { presign }]) =>
      presign === 'allowed' ? [name.replace(/Command$/, '')] : [],
    );
    expect(presigned).toEqual([
      'PutObject',
      'GetObject',
      'HeadObject',
      'DeleteObject',
      'UploadPart',
      'AbortMultipartUpload',
    ]);
  });

  it('say what is written about a person: objects and copies of them, and parts of either', () => {
    for (const [name, { about, input }] of plans) {
      const has = (field: string): boolean => field in input;
      const copies = has('CopySource');
      const whole = copies ? 'copy' : 'object';
      const part = copies ? 'partCopy' : 'part';
      const writes = has('Metadata') || copies || has('Body');
      expect(about, name).toBe(writes ? (has('UploadId') ? part : whole) : undefined);
    }
  });

  it('leave out what lib-storage gives to all commands of an upload, and nothing else', () => {
    const partly = plans.flatMap(([name, { ignored }]) =>
      ignored === undefined ? [] : [[name, ignored] as const],
    );
    const { input } = rules.PutObjectCommand.rewrite;
    expect(partly).toEqual(
      ['PutObjectTagging', 'CreateMultipartUpload', 'UploadPart', 'CompleteMultipartUpload'].map((name) => [
        `${name}Command`,
        input,
      ]),
    );
  });

  it('say of every refused field and URL why, as a clause, and what to do instead, as a sentence', () => {
    const refused = plans.flatMap(([, { presign, input }]) => [presign, ...refusedIn(input)]);
    for (const rule of refused) {
      if (rule === 'allowed') continue;
      expect(rule.why).toMatch(/^[a-zA-Z].*[^.]$/);
      expect(rule.instead).toMatch(/^[A-Z].*\.$/);
    }
    expect(refused.length).toBeGreaterThan(60);
  });
});

function refusedIn(rows: InputFields): CommandPlan['presign'][] {
  return Object.values(rows).flatMap((row) => ('kind' in row ? [row] : refusedIn(row.fields ?? {})));
}

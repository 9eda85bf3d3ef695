import * as sdk from '@aws-sdk/client-s3';
import { NormalizedSchema } from '@smithy/core/schema';
import type { Rules } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import { getObjectInput, listObjectsV2Output, type Input, type Output } from '../src/fields.ts';
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

  it('allows the first set of commands', () => {
    expect(plans.map(([name]) => name).sort()).toEqual([
      'CopyObjectCommand',
      'DeleteObjectCommand',
      'GetObjectCommand',
      'HeadObjectCommand',
      'ListObjectsV2Command',
      'PutObjectCommand',
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
    expect(Object.keys(plan.input).sort()).toEqual(
      membersOf(schema.input)
        .map(([member]) => member)
        .sort(),
    );
    expect(Object.keys(plan.output).sort()).toEqual(
      membersOf(schema.output)
        .map(([member]) => member)
        .sort(),
    );
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
    expect(plan.target).toBe(path.startsWith('/{Key+}') ? 'object' : 'bucket');
    const fixed = Object.fromEntries(new URL(path, 'http://h').searchParams);
    expect({ ...plan.fixed.may, ...plan.fixed.must }).toMatchObject(fixed);
  });
});

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

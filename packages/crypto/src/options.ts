import { ConfigError } from '@tenantkit/core';
import type { z } from 'zod';

/**
 * Checks options of this package. They stand on their own, not under the key `tenant` of a raw client's
 * options, since there is no raw client.
 *
 * @throws {@link ConfigError} that names the option, never its value: it may be the master key
 */
export function parse<T>(operation: string, schema: z.ZodType<T>, value: unknown): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = (issue?.path ?? []).join('.') || 'options';
  const problem =
    issue?.code === 'unrecognized_keys'
      ? `unknown option ${issue.keys.map(shown).join(', ')}`
      : (issue?.message ?? 'not accepted');
  throw new ConfigError({
    surface: 'crypto',
    operation,
    problem: `${path}: ${problem}`,
    hint: 'See the options in the README of @tenantkit/crypto.',
  });
}

/** A key of 32 bytes has 43 characters or more in every form that is taken; an option has fewer. */
const LONGEST_NAME = 32;

function shown(name: string): string {
  return /^[A-Za-z]+$/.test(name) && name.length <= LONGEST_NAME ? name : '(not shown: it is no name)';
}

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
      ? `unknown option ${issue.keys.join(', ')}`
      : (issue?.message ?? 'not accepted');
  throw new ConfigError({
    surface: 'crypto',
    operation,
    problem: `${path}: ${problem}`,
    hint: 'See the options in the README of @tenantkit/crypto.',
  });
}

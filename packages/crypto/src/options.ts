import { parseOptions } from '@tenantkit/core';
import type { z } from 'zod';

/**
 * Checks options of this package. They stand on their own, not under the key `tenant` of a raw client's
 * options, since there is no raw client.
 *
 * @throws {@link ConfigError} that names the option, never its value: it may be the master key
 */
export function parse<T>(operation: string, schema: z.ZodType<T>, value: unknown): T {
  return parseOptions('crypto', schema, value, operation);
}

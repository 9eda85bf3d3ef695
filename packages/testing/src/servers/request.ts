import { ConfigError } from '@tenantkit/core';
import { z } from 'zod';
import type { Host } from './host.ts';
import { RELEASE_NAMES, type RedisRelease } from './release.ts';
import { progressView, type ProgressView, type ServerProgress } from './progress.ts';

/** What `startServers` takes. */
export interface ServersRequest {
  /** A release (`'valkey@8.1'`), or `true`: the one that TENANTKIT_REDIS names, by default Redis 7. */
  readonly redis?: boolean | RedisRelease;
  readonly s3?: boolean;
  readonly opensearch?: boolean;
  readonly postgres?: boolean;
  /** Gives up the start, stops what was started, and rejects with the signal's reason. */
  readonly signal?: AbortSignal;
  /** Told about every step, in place of the lines on stderr. */
  readonly onProgress?: (progress: ServerProgress) => void;
  /** No lines on stderr. */
  readonly quiet?: boolean;
}

/** A type parameter takes any further property; this does not. */
export type NoOthers<Request> = { readonly [Name in Exclude<keyof Request, keyof ServersRequest>]: never };

const schema = z.strictObject({
  redis: z.union([z.boolean(), z.enum(RELEASE_NAMES)]).optional(),
  s3: z.boolean().optional(),
  opensearch: z.boolean().optional(),
  postgres: z.boolean().optional(),
  signal: z.instanceof(AbortSignal).optional(),
  onProgress: z.custom<(progress: ServerProgress) => void>((value) => typeof value === 'function').optional(),
  quiet: z.boolean().optional(),
});

/** What {@link ServersRequest} holds once it was checked. */
type Checked = z.infer<typeof schema>;

/** Checks what was asked for. @throws ConfigError for an option that there is not */
export function parseRequest(options: ServersRequest): Checked {
  const parsed = schema.safeParse(options);
  if (parsed.success) return parsed.data;
  const [issue] = parsed.error.issues;
  const unknown = issue?.code === 'unrecognized_keys' ? `unknown option ${issue.keys.join(', ')}` : undefined;
  throw new ConfigError({
    surface: 'testing',
    operation: 'startServers',
    problem: unknown ?? `${issue?.path.join('.') ?? 'options'}: ${issue?.message ?? 'not accepted'}`,
    hint: `Ask for redis, s3, opensearch, postgres with true (redis also as ${RELEASE_NAMES.join(', ')}); the other options are signal, onProgress and quiet.`,
  });
}

/** Who is told about the progress. */
export function viewFor(
  { env }: Host,
  { onProgress, quiet }: Pick<Checked, 'onProgress' | 'quiet'>,
): ProgressView {
  if (onProgress !== undefined) return { show: onProgress, warn: () => undefined, close: () => undefined };
  if (quiet === true) return { show: () => undefined, warn: () => undefined, close: () => undefined };
  return progressView(process.stderr, env);
}

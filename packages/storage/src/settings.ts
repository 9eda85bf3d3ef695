import { Readable } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import type {
  $Command,
  S3ClientResolvedConfig,
  ServiceInputTypes,
  ServiceOutputTypes,
} from '@aws-sdk/client-s3';
import { ConfigError } from '@tenantkit/core';
import type { Remote } from './remote.ts';

/** A setting of a bucket, as far as it could be read. */
export type Setting<Output> =
  | { readonly state: 'set'; readonly value: Output }
  | { readonly state: 'none' }
  /** Nobody knows: `why` says what the server has answered. */
  | { readonly state: 'unseen'; readonly why: string };

type Command<Input extends ServiceInputTypes, Output extends ServiceOutputTypes> = $Command<
  Input,
  Output,
  S3ClientResolvedConfig,
  ServiceInputTypes,
  ServiceOutputTypes
>;

/**
 * Asks for a setting of a bucket.
 *
 * @param roots - how the document may begin that the server answers with; none where it is no XML. Some servers answer
 *   a question that they do not know with the listing of the bucket, in which the SDK then finds no setting: that must
 *   not pass for its absence
 * @throws StoreUnreachableError, and the signal's reason
 */
export async function settingOf<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
  remote: Remote,
  command: Command<Input, Output>,
  ...roots: readonly string[]
): Promise<Setting<Output>> {
  let found: string | undefined;
  command.middlewareStack.add(
    (next) => async (args) => {
      const result = await next(args);
      const response = result.response as { body?: unknown; statusCode?: number };
      if (response.body instanceof Readable) {
        const bytes = await buffer(response.body);
        found = ROOT.exec(bytes.toString('utf8'))?.[1];
        response.body = Readable.from([bytes]);
      }
      return result;
    },
    // Next to the handler: what stands before has read the body by then.
    { step: 'deserialize', priority: 'low' },
  );
  try {
    const value = await remote.send(command);
    if (roots.length === 0 || (found !== undefined && roots.includes(found))) return { state: 'set', value };
    return { state: 'unseen', why: `the server answers with something else (${found ?? 'no document'})` };
  } catch (error) {
    const { status, name } = answerOf(error);
    if (status === undefined) throw error;
    if (status === 404 && name !== 'NoSuchBucket') return { state: 'none' };
    if (UNSEEN.has(status)) return { state: 'unseen', why: `${name}, status ${status}` };
    throw error;
  }
}

const ROOT = /^\s*(?:<\?[^>]*\?>\s*)?<(?:\w+:)?(\w+)/;

/** Not understood, not allowed, not known, not there: nobody knows what there is. */
export const UNSEEN: ReadonlySet<number> = new Set([400, 403, 405, 501]);

/**
 * For what an erasure cannot do without: an answer that the server knows no such question is told as such.
 *
 * @param what - that nobody can say then
 */
export function unable(what: string): (error: unknown) => never {
  return (error) => {
    const { status = 0, name } = answerOf(error);
    if (status !== 501 && status !== 405) throw error;
    throw new ConfigError({
      surface: 'storage',
      operation: 'erase',
      problem: `the server cannot say ${what} (${name}, status ${status})`,
      hint: 'What it does not list cannot be erased, nor shown to be gone: keep tenants on a server that lists versions and uploads, or erase there with its own means.',
      cause: error,
    });
  };
}

/** What the server has answered; without a status where it was not the server. */
export function answerOf(error: unknown): { readonly status?: number | undefined; readonly name: string } {
  if (!(error instanceof Error)) return { name: '' };
  const { $metadata } = error as { $metadata?: { httpStatusCode?: number } };
  return { status: $metadata?.httpStatusCode, name: error.name };
}

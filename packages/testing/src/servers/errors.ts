import { TenantkitError } from '@tenantkit/core';

/**
 * A server that was asked for cannot be had on this machine. The message lists the three ways to get it;
 * nothing else is ever put in its place.
 *
 * @example
 * ```ts
 * import { ServerUnavailableError, startServers } from '@tenantkit/testing/servers';
 * try {
 *   await startServers({ redis: true });
 * } catch (error) {
 *   if (error instanceof ServerUnavailableError) console.error(error.message);
 *   else throw error;
 * }
 * ```
 */
export class ServerUnavailableError extends TenantkitError<'SERVER_UNAVAILABLE'> {
  static {
    // A literal: a minifier renames classes.
    Object.defineProperty(this.prototype, 'name', { value: 'ServerUnavailableError' });
  }
  readonly code = 'SERVER_UNAVAILABLE';
  /** `redis`, `s3`, `opensearch` or `postgres`; of several the first. */
  readonly server: string;

  constructor({ server, problem, ways, cause }: ServerUnavailable) {
    const listed = ways.map((way, index) => `  ${index + 1}. ${way}`);
    const hint =
      listed.length === 0
        ? ''
        : [WAYS[listed.length] ?? 'There are several ways to get it:', ...listed].join('\n');
    super(problem, { surface: 'testing', operation: 'startServers', hint, cause });
    this.server = server;
  }
}

const WAYS: readonly (string | undefined)[] = [
  undefined,
  'There is one way to get it:',
  'There are two ways to get it:',
  'There are three ways to get it:',
];

interface ServerUnavailable {
  readonly server: string;
  /** What was tried and why it did not work, as a sentence. */
  readonly problem: string;
  /** One sentence per way. */
  readonly ways: readonly string[];
  readonly cause?: unknown;
}

/**
 * One error for several servers that cannot be had, with the whole message of each: whoever handles
 * {@link ServerUnavailableError} need not know that there can be more than one.
 *
 * @param errors - in the order of the servers; what is wrong with a variable counts more, it has to be mended first
 */
export function unavailableTogether(errors: readonly Error[]): Error {
  const [first] = errors;
  const other = errors.find((error) => !(error instanceof ServerUnavailableError));
  if (other !== undefined || !(first instanceof ServerUnavailableError))
    return other ?? new Error('no error');
  const problem = errors.map(({ message }) => message).join('\n\n');
  return new ServerUnavailableError({
    server: first.server,
    problem,
    ways: [],
    cause: new AggregateError(errors),
  });
}

/** A server was found or installed, but did not come up. The message ends with what the server wrote last. */
export class ServerFailedError extends TenantkitError<'SERVER_FAILED'> {
  static {
    Object.defineProperty(this.prototype, 'name', { value: 'ServerFailedError' });
  }
  readonly code = 'SERVER_FAILED';
  /** `redis`, `s3`, `opensearch` or `postgres`. */
  readonly server: string;

  constructor({
    server,
    problem,
    hint,
    cause,
  }: {
    server: string;
    problem: string;
    hint: string;
    cause?: unknown;
  }) {
    super(problem, { surface: 'testing', operation: 'startServers', hint, cause });
    this.server = server;
  }
}

/** An error that ends with the last lines of a log. */
export function failure(problem: string, log: string, lines: number): Error {
  const tail = log.trimEnd().split('\n').slice(-lines).join('\n');
  return new Error(tail === '' ? problem : `${problem}:\n${tail}`);
}

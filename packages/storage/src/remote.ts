import type {
  $Command,
  GetObjectCommand,
  S3ClientResolvedConfig,
  ServiceInputTypes,
  ServiceOutputTypes,
} from '@aws-sdk/client-s3';
import { ConfigError, StoreUnreachableError, currentTenant, refusal, refuse } from '@tenantkit/core';
import { bucketIn } from './bucket.ts';
import { engineOf, type S3Client } from './client.ts';
import type { Engine } from './engine.ts';
import type { StorageNames } from './names.ts';
import type { Home } from './place.ts';
import { isAbsent, passes, patiently } from './patience.ts';

/** What eraser and auditor need of a bucket. */
export interface RemoteOptions {
  /**
   * How long one request may take, in milliseconds, with the times that it is tried again; default 60 000. Afterwards
   * the server counts as unreachable.
   */
  readonly timeout?: number | undefined;
}

/** The default of {@link RemoteOptions.timeout}: deleting 1,000 versions takes a busy server seconds. */
const TIMEOUT = 60_000;

const INSIDE = refuse(
  'it works on the objects of all tenants, and was called inside of one',
  'Call it outside of withTenant: in a job of the service, or inside acrossTenants.',
);

/** A command of the raw client. */
type Command<Input extends ServiceInputTypes, Output extends ServiceOutputTypes> = $Command<
  Input,
  Output,
  S3ClientResolvedConfig,
  ServiceInputTypes,
  ServiceOutputTypes
>;

/** One bucket with raw names, in one place, for work that was stated with `acrossTenants`; it never waits for ever. */
export class Remote {
  readonly bucket: string;
  readonly #client: S3Client;
  readonly #engine: Engine;
  readonly #operation: string;
  readonly #timeout: number;
  readonly #signal: AbortSignal;
  readonly #home: Home;

  /**
   * @param bucket - as callers know it
   * @param operation - what is done, for errors: `plan`; `home`: the place that is worked in, by default the pool
   * @throws ConfigError when the bucket is not an accepted one of the client
   * @throws OperationRefusedError inside a tenant, who could name another one
   */
  constructor(
    client: S3Client,
    bucket: string,
    {
      operation,
      timeout = TIMEOUT,
      signal,
      home,
    }: RemoteOptions & { operation: string; signal?: AbortSignal; home?: Home },
  ) {
    if (currentTenant() !== undefined) throw refusal('storage', operation, INSIDE);
    this.#client = client;
    this.#engine = acceptedBucket(client, bucket, operation);
    this.#home = home ?? this.#engine.pool;
    this.bucket = bucketIn(this.#home, bucket);
    this.#operation = operation;
    this.#timeout = timeout;
    this.#signal = signal ?? new AbortController().signal;
  }

  /** Fires when the work has to stop. */
  get signal(): AbortSignal {
    return this.#signal;
  }

  /** How the client names keys. */
  get names(): StorageNames {
    return this.#engine.names;
  }

  /** Where objects of persons are that nobody has noted. */
  get patterns(): readonly string[] {
    return this.#engine.patterns;
  }

  /**
   * Sends one command, again and again while the server is busy or the connection breaks, as long as `timeout` allows.
   *
   * @throws StoreUnreachableError when the server cannot be reached or does not answer in time, with the last error
   *   as its cause
   * @throws the signal's reason when it fired, and the server's own errors as the SDK makes them
   */
  async send<Input extends ServiceInputTypes, Output extends ServiceOutputTypes>(
    command: Command<Input, Output>,
  ): Promise<Output> {
    return this.#try((abortSignal) => this.#client.send(command, { abortSignal }));
  }

  /**
   * Reads a short object in the same time, and no more of it than it may have.
   *
   * @returns `undefined` when it is longer: a server may pass over a `Range`, and never end
   * @throws as {@link send}
   */
  async read(command: GetObjectCommand, atMost: number): Promise<Buffer | undefined> {
    return this.#try(async (abortSignal) => {
      const { Body } = await this.#client.send(command, { abortSignal });
      // The signal ends it as well.
      return wholeOf(Body as AsyncIterable<Uint8Array> | undefined, atMost);
    });
  }

  async #try<T>(fn: (signal: AbortSignal) => Promise<T>): Promise<T> {
    this.#signal.throwIfAborted();
    const expiry = AbortSignal.timeout(this.#timeout);
    const signal = AbortSignal.any([this.#signal, expiry]);
    let last: unknown;
    const onFailure = (error: unknown): void => {
      // The SDK rejects with an error of its own when a signal fires: that is not what went wrong.
      if (!signal.aborted) last = error;
    };
    try {
      return await patiently(() => this.#engine.visit(this.#home, () => fn(signal)), { signal, onFailure });
    } catch (error) {
      this.#signal.throwIfAborted();
      if (!expiry.aborted && isAnswered(error)) throw error;
      throw new StoreUnreachableError({
        surface: 'storage',
        operation: this.#operation,
        target: await this.#engine.urlOf(this.bucket, this.#home),
        cause: last ?? error,
      });
    }
  }
}

async function wholeOf(
  body: AsyncIterable<Uint8Array> | undefined,
  atMost: number,
): Promise<Buffer | undefined> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body ?? []) {
    length += chunk.length;
    // Leaving the loop ends the stream, and with it the connection.
    if (length > atMost) return undefined;
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/** The engine of a client, after the bucket was found among its accepted ones. */
export function acceptedBucket(client: S3Client, bucket: string, operation: string): Engine {
  const engine = engineOf(client, operation);
  if (engine.buckets.includes(bucket)) return engine;
  throw new ConfigError({
    surface: 'storage',
    operation,
    problem: 'the bucket is not an accepted one of the client',
    hint: 'Name a bucket of the client option tenant.buckets, or add it there.',
  });
}

// What passes had its time by now; everything else is the server's answer, or a fault of the caller.
function isAnswered(error: unknown): boolean {
  return !(passes(error) || isAbsent(error));
}

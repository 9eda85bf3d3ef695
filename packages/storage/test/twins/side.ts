import * as raw from '@aws-sdk/client-s3';
import { withTenant, type RewriteRule } from '@tenantkit/core';
import * as ours from '@tenantkit/storage';
import type { CommandPlan, rules } from '../../src/rules.ts';
import type { Opened } from '../open.ts';

type Rows = typeof rules;

/** Every command that a tenant may send. */
export type Allowed = {
  [Name in keyof Rows]: Rows[Name] extends RewriteRule<CommandPlan> ? Name : never;
}[keyof Rows];

type Raw = typeof raw;
type InputOf<Name extends Allowed> = ConstructorParameters<Raw[Name]>[0];
type Given<Name extends Allowed> = Omit<InputOf<Name>, 'Bucket' | 'Key'> & { readonly Key?: string };
/** What a reply may hold, of all commands. */
type Reply = Readonly<Record<string, unknown>> & {
  readonly UploadId?: string;
  readonly ETag?: string;
  readonly VersionId?: string;
};

/** What came of one command, without what differs between two calls of the same client. */
export interface Outcome {
  readonly command: string;
  readonly reply?: unknown;
  readonly error?: { readonly name: string } & Readonly<Record<string, unknown>>;
}

/** One of two twins: the raw client on physical names, or ours on logical ones. Both do the same. */
export class Side {
  /** All that was sent, in order. */
  readonly log: Outcome[] = [];
  readonly #own: Opened;
  readonly #tenant: string;
  readonly #guarded: boolean;
  readonly #ids: string[] = [];

  constructor(own: Opened, tenant: string, guarded: boolean) {
    this.#own = own;
    this.#tenant = tenant;
    this.#guarded = guarded;
  }

  /** A key, prefix or marker, as this side has to give it. */
  name(logical: string): string {
    return this.#guarded ? logical : this.#prefix + logical;
  }

  /** The source of a copy. */
  source(logical: string, query = ''): string {
    const path = this.name(logical).split('/').map(encodeURIComponent).join('/');
    return `${this.#own.bucket}/${path}${query}`;
  }

  /** Sends a command and notes what came of it. Gives the reply, or nothing after an error. */
  async send<Name extends Allowed>(command: Name, given: Given<Name>): Promise<Reply | undefined> {
    const { Key, ...rest } = given as { Key?: string };
    const names = Key === undefined ? {} : { Key: this.name(Key) };
    const input = { Bucket: this.#own.bucket, ...names, ...rest } as never;
    const Class = (this.#guarded ? ours : raw)[command] as new (input: never) => raw.GetObjectCommand;
    try {
      const reply = (await this.#run(new Class(input))) as Reply;
      this.log.push({ command, reply: await this.#normal(reply) });
      return reply;
    } catch (error) {
      this.log.push({ command, error: await this.#normalError(error as Error) });
      return undefined;
    }
  }

  /** Sends what belongs to the operator, on the object of this side. */
  operator(
    make: (at: { readonly Bucket: string; readonly Key: string }) => object,
    logical = '',
  ): Promise<unknown> {
    const at = { Bucket: this.#own.bucket, Key: this.#prefix + logical };
    return this.#own.raw.send(make(at) as raw.GetObjectCommand);
  }

  get #prefix(): string {
    return `tenants/${this.#tenant}/`;
  }

  #run(command: raw.GetObjectCommand): Promise<unknown> {
    const isQuery = command instanceof raw.SelectObjectContentCommand;
    const { s3, raw: client } = isQuery ? this.#own.queries : this.#own;
    return this.#guarded ? withTenant(this.#tenant, () => s3.send(command)) : client.send(command);
  }

  async #normal(value: unknown, name = ''): Promise<unknown> {
    if (value instanceof Date) return DATES.has(name) ? 'a date' : value;
    if (typeof value === 'string') return this.#text(value, name);
    if (Array.isArray(value)) return Promise.all(value.map((one) => this.#normal(one)));
    if (typeof value !== 'object' || value === null) return value;
    if ('transformToString' in value)
      return (value as { transformToString(): Promise<string> }).transformToString();
    if (Symbol.asyncIterator in value) return this.#events(value as AsyncIterable<unknown>);
    if (value instanceof Uint8Array) return Buffer.from(value).toString();
    const entries = Object.entries(value).map(
      async ([part, one]) => [part, VOLATILE.has(part) ? typeof one : await this.#normal(one, part)] as const,
    );
    return Object.fromEntries(await Promise.all(entries));
  }

  async #events(events: AsyncIterable<unknown>): Promise<unknown[]> {
    const seen: unknown[] = [];
    for await (const event of events) seen.push(await this.#normal(event));
    return seen;
  }

  // Ids are numbered in the order in which they are seen: two that are the same stay the same.
  #text(value: string, name: string): string {
    if (name.endsWith('Token')) return value === '' ? '' : 'a token';
    if (IDS.has(name) && value !== '' && value !== 'null') {
      if (!this.#ids.includes(value)) this.#ids.push(value);
      return `id ${this.#ids.indexOf(value)}`;
    }
    if (this.#guarded) return value;
    return value.replaceAll(this.#prefix, '').replaceAll(encodeURIComponent(this.#prefix), '');
  }

  async #normalError(error: Error): Promise<Outcome['error'] & object> {
    const own = Object.fromEntries(
      Object.getOwnPropertyNames(error)
        .filter((name) => name !== 'stack')
        .map((name) => [name, (error as unknown as Record<string, unknown>)[name]]),
    );
    const fields = (await this.#normal(own)) as Record<string, unknown>;
    const classes: string[] = [];
    for (
      let type = Object.getPrototypeOf(error) as object | null;
      type !== null;
      type = Object.getPrototypeOf(type)
    )
      classes.push(type.constructor.name);
    return { ...fields, name: error.name, message: this.#text(error.message, ''), classes };
  }
}

const VOLATILE: ReadonlySet<string> = new Set([
  'requestId',
  'extendedRequestId',
  'cfId',
  'totalRetryDelay',
  'RequestId',
  'HostId',
  'date',
  'last-modified',
  'x-amz-request-id',
  'body',
  // The text of a reply that could not be read: ours leaves it out, since names may stand in it.
  '$responseBodyText',
]);
const DATES: ReadonlySet<string> = new Set(['LastModified', 'Initiated']);
const IDS: ReadonlySet<string> = new Set([
  'VersionId',
  'DeleteMarkerVersionId',
  'CopySourceVersionId',
  'VersionIdMarker',
  'NextVersionIdMarker',
  'UploadId',
  'UploadIdMarker',
  'NextUploadIdMarker',
]);

import type { Readable } from 'node:stream';
import {
  GetObjectCommand,
  HeadObjectCommand,
  PutObjectCommand,
  S3ServiceException,
  type GetObjectCommandOutput,
  type HeadObjectCommandOutput,
} from '@aws-sdk/client-s3';
import { refusal } from '@tenantkit/core';
import type { Call, Realm } from './call.ts';
import { parseCopySource, type CopySource } from './copy-source.ts';
import type { Errand, Errands, Way } from './errand.ts';
import { rules } from './rules.ts';
import { ANOTHER_PERSON, NO_ETAG, TOO_MANY, UNREADABLE, ofNobody } from './subject-refusals.ts';
import {
  LABEL,
  LABEL_HEADER,
  MAX_LABEL,
  OWN_METADATA,
  labelOf,
  markerOf,
  subjectsIn,
  type Marker,
} from './subject-names.ts';

/**
 * What has to happen before a call may leave, so that what is written about a person is found again: the markers are
 * written, and of a copy it is known whom its source is about.
 */
export class Subjects {
  readonly #realm: Realm;
  readonly #errands: Errands;
  /** Whether anything is written about persons. */
  readonly kept: boolean;

  constructor(realm: Realm, errands: Errands, kept: boolean) {
    this.#realm = realm;
    this.#errands = errands;
    this.kept = kept;
  }

  /** Whether an input is that of a request of the client's own; see {@link Errands}. */
  take(input: unknown): Errand | undefined {
    return this.#errands.take(input);
  }

  /**
   * @param way - how the call's requests leave
   * @returns the call as it may leave now
   * @throws what the server answers: then nothing of the call was sent
   */
  async prepare(call: Call, way?: Way): Promise<Call> {
    const { about } = call.plan;
    if (!this.kept) return ofNobody(call);
    if (about === 'copy') return this.#mark(await this.#copied(call, way), way);
    if (about === 'partCopy') return this.#joined(call, way);
    return call.subjects.length === 0 || about !== 'object' ? call : this.#mark(call, way);
  }

  async #mark(call: Call, way: Way | undefined): Promise<Call> {
    const { tenant, key = '', subjects } = call;
    const logical = key.slice(this.#realm.names.prefix(tenant).length);
    await Promise.all(
      subjects.map((subject) => {
        const marker = markerOf(tenant, subject, logical);
        const input = { ...atOf(call), Bucket: call.bucket, Key: marker.key, ...bodyOf(marker) };
        const spellings = new Map([...call.spellings, [marker.key, logical]]);
        const { rewrite: plan } = rules.PutObjectCommand;
        const own = ownCall(call, { plan, input, key: marker.key, spellings, errand: { body: marker.body } });
        return this.#errands.run({ call: own, way }, new PutObjectCommand(input));
      }),
    );
    return call;
  }

  /** A copy is about everybody that its source is about, and about the person in whose context it is made. */
  async #copied(call: Call, way: Way | undefined): Promise<Call> {
    const { source, seen, pinned } = await this.#look(call, way);
    const before = subjectsIn(seen.Metadata?.[LABEL]);
    const subjects = [...new Set([...before, ...call.subjects])];
    const label = labelOf(subjects);
    if (label !== undefined && label.length > MAX_LABEL) throw refusal('storage', call.operation, TOO_MANY);
    const input: Record<string, unknown> = { ...call.input, ...source };
    const replaces = input['MetadataDirective'] === 'REPLACE';
    const directive = replaces || subjects.length > before.length ? 'REPLACE' : undefined;
    if (directive !== undefined && !replaces) Object.assign(input, this.#described(call, seen));
    if (directive !== undefined && label !== undefined)
      input['Metadata'] = { ...(input['Metadata'] as object | undefined), [LABEL]: label };
    const written = directive === undefined ? undefined : label;
    return {
      ...call,
      input,
      subjects,
      pinned: new Map([
        ...pinned,
        [LABEL_HEADER, written],
        ['x-amz-metadata-directive', input['MetadataDirective'] as string | undefined],
      ]),
    };
  }

  /** A part cannot say whom it is about: the upload has said it. */
  async #joined(call: Call, way: Way | undefined): Promise<Call> {
    const { source, seen, pinned } = await this.#look(call, way);
    const missing = subjectsIn(seen.Metadata?.[LABEL]).some((subject) => !call.subjects.includes(subject));
    if (missing) throw refusal('storage', call.operation, ANOTHER_PERSON);
    return { ...call, input: { ...call.input, ...source }, pinned };
  }

  /** Looks at the source of a copy, and holds the copy to what was seen, unless the caller has conditions of his own. */
  async #look(call: Call, way: Way | undefined): Promise<Look> {
    const copySource = String(call.input['CopySource']);
    const named = parseCopySource(copySource);
    if ('kind' in named) throw refusal('storage', call.operation, named);
    const seen = await this.#head(call, named, way);
    const { ETag } = seen;
    if (ETag === undefined) throw refusal('storage', call.operation, NO_ETAG);
    const { CopySourceIfMatch, CopySourceIfUnmodifiedSince } = call.input;
    // Where one that holds is added, servers pass over the second of these.
    const isOwn = CopySourceIfMatch === undefined && CopySourceIfUnmodifiedSince === undefined;
    const condition = isOwn ? ETag : CopySourceIfMatch;
    return {
      seen,
      source: isOwn ? { CopySourceIfMatch: ETag } : {},
      pinned: new Map([
        ['x-amz-copy-source', copySource],
        ['x-amz-copy-source-if-match', typeof condition === 'string' ? condition : undefined],
      ]),
    };
  }

  async #head(
    call: Call,
    { bucket, key, versionId }: CopySource,
    way: Way | undefined,
  ): Promise<HeadObjectCommandOutput> {
    const input: Record<string, unknown> & Named = { Bucket: bucket, Key: key };
    if (versionId !== undefined) input['VersionId'] = versionId;
    for (const [of, field] of Object.entries(OF_SOURCE)) {
      if (call.input[of] !== undefined) input[field] = call.input[of];
    }
    const sealed = new Map(versionId === undefined ? [] : [['versionId', versionId]]);
    const same = { bucket, key, sealed, errand: { body: '' } };
    const head = ownCall(call, { ...same, plan: rules.HeadObjectCommand.rewrite, input });
    try {
      return await this.#errands.run<HeadObjectCommandOutput>(
        { call: head, way },
        new HeadObjectCommand(input),
      );
    } catch (error) {
      if (!NO_DOCUMENT.has(statusOf(error))) throw error;
      // It says no more than its status: what a copy would answer stands in the reply to a GET.
      const first = { ...input, Range: 'bytes=0-0' };
      const get = ownCall(call, { ...same, plan: rules.GetObjectCommand.rewrite, input: first });
      await this.#errands
        .run<GetObjectCommandOutput>({ call: get, way }, new GetObjectCommand(first))
        .then(({ Body }) => (Body as Readable | undefined)?.destroy());
      throw error;
    }
  }

  /** What a copy takes over from its source, where it has to be sent to be added to. */
  #described(call: Call, seen: HeadObjectCommandOutput): Record<string, unknown> {
    const { Expires, ExpiresString, MissingMeta = 0 } = seen;
    const odd = ExpiresString !== undefined && !(Expires instanceof Date && !Number.isNaN(Expires.getTime()));
    if (odd || MissingMeta > 0) throw refusal('storage', call.operation, UNREADABLE);
    const own = Object.entries(seen.Metadata ?? {}).filter(([name]) => !OWN_METADATA.test(name));
    return {
      ...Object.fromEntries(DESCRIBED.map((name) => [name, seen[name]])),
      Metadata: Object.fromEntries(own),
      MetadataDirective: 'REPLACE',
    };
  }
}

interface Named {
  Bucket: string;
  Key: string;
}

interface Look {
  readonly seen: HeadObjectCommandOutput;
  /** Fields of the copy. */
  readonly source: { readonly CopySourceIfMatch?: string };
  readonly pinned: Call['pinned'];
}

const DESCRIBED = [
  'CacheControl',
  'ContentDisposition',
  'ContentEncoding',
  'ContentLanguage',
  'ContentType',
  'Expires',
] as const;

/**
 * Fields of a copy that say of its source what a HEAD says of its object. Not its conditions: they are the copy's to
 * meet, as the server understands them.
 */
const OF_SOURCE: Readonly<Record<string, string>> = {
  CopySourceSSECustomerAlgorithm: 'SSECustomerAlgorithm',
  CopySourceSSECustomerKey: 'SSECustomerKey',
  CopySourceSSECustomerKeyMD5: 'SSECustomerKeyMD5',
  ExpectedSourceBucketOwner: 'ExpectedBucketOwner',
  RequestPayer: 'RequestPayer',
};

const NO_DOCUMENT: ReadonlySet<number> = new Set([400, 403, 404, 405]);

function statusOf(error: unknown): number {
  return error instanceof S3ServiceException ? (error.$metadata.httpStatusCode ?? 0) : 0;
}

// An empty text has no length of its own in the SDK.
function bodyOf({ body }: Marker): { readonly Body: string; readonly ContentLength: number } {
  return { Body: body, ContentLength: Buffer.byteLength(body) };
}

function atOf({ input }: Call): Record<string, unknown> {
  const fields = ['ExpectedBucketOwner', 'RequestPayer'].filter((name) => input[name] !== undefined);
  return Object.fromEntries(fields.map((name) => [name, input[name]]));
}

/** Of the same tenant, in the same place, under the same name. */
function ownCall(
  call: Call,
  own: Pick<Call, 'plan' | 'input' | 'key' | 'errand'> &
    Partial<Pick<Call, 'bucket' | 'sealed' | 'spellings'>>,
): Call {
  const none = { given: new Map(), sealed: new Map(), subjects: [], pinned: new Map(), place: [] };
  return { ...call, ...none, encoded: false, ...own };
}

import { SignatureError, publish, refusal, refuse } from '@tenantkit/core';
import { VERSION_ID, formatCopySource, parseCopySource } from './copy-source.ts';
import { readRecord } from './fields/read.ts';
import type { InputField, InputFields, InputRole } from './fields/index.ts';
import type { KeyRole } from './grammar.ts';
import { inputBody } from './outgoing.ts';
import { plainText, plainValue } from './plain.ts';
import { requiredOf } from './allowed.ts';
import { bucketIn, checkBucket } from './bucket.ts';
import type { CallStart, Realm } from './call.ts';
import { sealedTo } from './place.ts';
import { missing } from './refused.ts';
import { OWN_METADATA } from './subject-names.ts';
import { refuseTag, tagKeys } from './tags.ts';
import { openUploadId } from './upload-id.ts';

/** Where a value stands. */
interface At {
  readonly row: InputField;
  /** Its name with what is around it, for errors: `Delete.Objects[3].Key`. */
  readonly field: string;
}

/** Makes the values of one call physical, and keeps in mind what it has made. */
export class Writing {
  /** The physical key. */
  key: string | undefined;
  /** The physical prefix of a listing. */
  readonly prefix: string;
  readonly sealed: Map<string, string> = new Map();
  readonly spellings: Map<string, string> = new Map();
  /** Whom the upload is about. */
  uploadSubjects: readonly string[] = [];
  readonly #realm: Realm;
  readonly #start: CallStart;
  readonly #bucket: string;
  readonly #fields: ReadonlyMap<string, unknown>;
  #length = 0;

  constructor(realm: Realm, start: CallStart, bucket: string, fields: ReadonlyMap<string, unknown>) {
    this.#realm = realm;
    this.#start = start;
    this.#bucket = bucket;
    this.#fields = fields;
    this.prefix =
      start.plan.target === 'listing' ? this.#encode('Prefix', fields.get('Prefix') ?? '', 'partial') : '';
  }

  /** What continuation tokens are sealed to. */
  get place(): readonly string[] {
    const { tenant, home } = this.#start;
    return ['list', tenant, this.#bucket, this.prefix, ...sealedTo(home)];
  }

  /** The physical value of a field of the command; `undefined` for one that is left out. */
  write(name: string, value: unknown): unknown {
    const row = this.#start.plan.input[name] as InputField;
    return this.#write(value, { row, field: name });
  }

  #write(value: unknown, at: At): unknown {
    const physical = Writing.#WRITERS[at.row.as](this, value, at);
    const { as, values } = at.row;
    if (typeof physical === 'string' && as !== 'body') this.#length += physical.length;
    if (this.#length > MAX_LENGTH)
      throw this.#refuse(
        `its texts are longer than ${MAX_LENGTH} characters in all`,
        'Send several commands.',
      );
    if (values !== undefined && !values.includes(physical as string)) {
      throw this.#refuse(`${at.field} is none of ${values.join(', ')}`, 'Use one of them, or leave it out.');
    }
    return physical;
  }

  static readonly #WRITERS: Readonly<Record<InputRole, (to: Writing, value: unknown, at: At) => unknown>> = {
    same: (to, value, { field }) => plainValue(to.#operation, field, value),
    text: (to, value, { field }) => plainText(to.#operation, field, value),
    body: (to, value) => inputBody(to.#operation, value, to.#fields.get('ContentLength')),
    bucket: (to) => to.#bucket,
    key: (to, value, { field }) => {
      const key = to.#encode(field, value, 'key');
      if (field === 'Key') to.key = key;
      return key;
    },
    prefix: (to) => to.prefix,
    marker: (to, value, { field }) => (value === '' ? undefined : to.#encode(field, value, 'partial')),
    token: (to, value, { row }) =>
      to.#opened('ContinuationToken', value, row, () => to.#realm.sealer.open(value, to.place)),
    uploadId: (to, value, { row }) =>
      to.#opened('UploadId', value, row, () => to.#openUpload(value, to.key ?? '')),
    uploadIdMarker: (to, value, { row }) =>
      value === ''
        ? undefined
        : to.#opened('UploadIdMarker', value, row, () => to.#openUpload(value, undefined)),
    partNumber: (to, value, { field }) => {
      if (typeof value === 'number' && Number.isInteger(value) && value >= 1 && value <= 10_000) return value;
      throw to.#refuse(`${field} is not a number from 1 to 10,000`, 'Count the parts of the object from 1.');
    },
    version: (to, value, { field }) => {
      if (typeof value === 'string' && VERSION_ID.test(value)) return value;
      throw to.#refuse(`${field} is not a version id`, 'Give the VersionId of an earlier reply as it was.');
    },
    copySource: (to, value, { field }) => {
      const source = parseCopySource(value);
      if ('kind' in source) throw refusal('storage', to.#operation, { ...source, reason: 'key' });
      checkBucket(to.#realm, to.#operation, source.bucket, field);
      const bucket = bucketIn(to.#start.home, source.bucket);
      return formatCopySource({ ...source, bucket, key: to.#encode(field, source.key, 'key') });
    },
    metadata: (to, value, { field }) => {
      const names = Object.keys(Object(value) as object);
      if (names.length > MAX_METADATA)
        throw to.#refuse(
          `${field} has too many names`,
          `Give ${MAX_METADATA} at most; AWS takes 2 KiB in all.`,
        );
      const plain = plainValue(to.#operation, field, value);
      const own = Object.keys(Object(plain) as object).find((name) => OWN_METADATA.test(name));
      if (own === undefined) return plain;
      throw to.#refuse(`${field} has a name that begins with tk-, which is reserved`, 'Use another name.');
    },
    tags: (to, value, { field }) => {
      const plain = plainValue(to.#operation, field, value);
      const keys = typeof plain === 'string' ? tagKeys(plain) : undefined;
      if (keys === undefined)
        throw to.#refuse(`${field} is not a query string`, 'Write it as key=value&key=value.');
      for (const key of keys) to.#assertTag(field, key);
      return plain;
    },
    tagKey: (to, value, { field }) => {
      const plain = plainValue(to.#operation, field, value);
      to.#assertTag(field, plain);
      return plain;
    },
    record: (to, value, { row, field }) => to.#record(value, row.fields ?? {}, field),
    list: (to, value, { row, field }) => {
      if (!Array.isArray(value)) throw to.#refuse(`${field} is not a list`, 'Give an array.');
      const { length } = value as unknown[];
      const { max = 0 } = row;
      if (length > max) throw to.#refuse(`${field} has more than ${max} entries`, 'Send several commands.');
      return Array.from({ length }, (_, index) =>
        to.#record(value[index], row.fields ?? {}, `${field}[${index}]`),
      );
    },
  };

  #record(value: unknown, rows: InputFields, field: string): Record<string, unknown> {
    if (typeof value !== 'object' || value === null) {
      throw this.#refuse(`${field} is not an object`, 'Give its fields.');
    }
    const written: Record<string, unknown> = {};
    for (const [name, part] of readRecord(this.#operation, rows, value, { path: `${field}.` })) {
      written[name] = this.#write(part, { row: rows[name] as InputField, field: `${field}.${name}` });
    }
    for (const name of requiredOf(rows)) {
      if (written[name] === undefined) throw missing(this.#operation, `${field}.${name}`);
    }
    return written;
  }

  #encode(field: string, value: unknown, role: KeyRole): string {
    const { tenant } = this.#start;
    const physical = this.#realm.names.encode(tenant, value, { operation: this.#operation, field }, role);
    this.spellings.set(physical, value as string);
    return physical;
  }

  #opened(what: string, value: unknown, { query = '' }: InputField, open: () => string | undefined): string {
    const text = open();
    if (text === undefined) throw this.#forged(`the ${what}`);
    this.sealed.set(query, text);
    this.spellings.set(text, value as string);
    return text;
  }

  #openUpload(value: unknown, key: string | undefined): string | undefined {
    const { tenant, home } = this.#start;
    const upload = openUploadId(this.#realm.sealer, value, { tenant, home, bucket: this.#bucket, key });
    if (upload !== undefined && key !== undefined) this.uploadSubjects = upload.subjects;
    return upload?.id;
  }

  #assertTag(field: string, key: unknown): void {
    const problem = refuseTag(this.#realm.tags, field, key);
    if (problem !== undefined) throw refusal('storage', this.#operation, { ...problem, reason: 'value' });
  }

  get #operation(): string {
    return this.#start.operation;
  }

  #refuse(why: string, instead: string): Error {
    return refusal('storage', this.#operation, refuse(why, instead, 'value'));
  }

  // One answer for every reason: a stolen token must not be told from one that never was.
  #forged(what: string): SignatureError {
    const { operation, tenant } = this.#start;
    const error = new SignatureError({
      surface: 'storage',
      operation,
      what,
      reason: 'mismatch',
      hint: FORGED,
    });
    publish('refused', { surface: 'storage', operation, message: error.message, tenant });
    return error;
  }
}

// Of every possible reason, since none is told.
const FORGED =
  'It was altered, or came with another tenant, Bucket, Key or Prefix than it is given with, or was sealed with a key ' +
  'that is not in tenant.sealingKeys: without that option each process has a key of its own, until it ends. Begin anew.';

// Each is a header. Ceph takes some 480, and closes the connection at one more.
const MAX_METADATA = 100;
// A batch of a thousand keys and versions of the longest has less. All of it is written and read several times.
const MAX_LENGTH = 4_194_304;

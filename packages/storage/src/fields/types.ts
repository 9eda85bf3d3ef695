import type { RefuseRule } from '@tenantkit/core';

/** What a field of a request holds. `same` names nothing and leaves as it is. */
export type InputRole =
  | 'bucket'
  | 'key'
  | 'prefix'
  /** A place in a listing: the beginning of keys. */
  | 'marker'
  | 'token'
  | 'uploadId'
  | 'uploadIdMarker'
  | 'partNumber'
  | 'copySource'
  | 'version'
  | 'body'
  | 'metadata'
  /** Tags as a query string. */
  | 'tags'
  /** The key of one tag. */
  | 'tagKey'
  /** Text that leaves inside of XML, where a line break ends nothing. */
  | 'text'
  /** A structure, whose parts are in `fields`. */
  | 'record'
  /** A list of such structures. */
  | 'list'
  | 'same';

/** One field of a request: what it holds and how it travels, which is also what the last check lets through. */
export interface InputField {
  readonly as: InputRole;
  /** The header it becomes, in lower case; with `*` at the end, a family of headers. */
  readonly header?: string;
  /** The query parameter it becomes. */
  readonly query?: string;
  /** Where it stands in the XML of the body, seen from the structure around it; default its own name in there. */
  readonly element?: string;
  /** Without it, a server would do something else, or to something else. */
  readonly required?: true;
  /** The only values that it may have. */
  readonly values?: readonly string[];
  /** How many entries a `list` has at most: S3 takes no more, and each costs time that others wait. */
  readonly max?: number;
  /** The parts of a `record`, or of each entry of a `list`. */
  readonly fields?: InputFields;
}

/** What a field of a reply holds: `same` passes, the others are made logical. */
export type OutputField =
  | 'same'
  | 'bucket'
  | 'key'
  | 'prefix'
  | 'marker'
  | 'nextToken'
  | 'uploadId'
  | 'nextUploadIdMarker'
  /** The server repeats what it was asked; the caller gets what he had given. */
  | 'echo'
  | 'location'
  | 'metadata'
  /** Text of the server's, in which names may stand. */
  | 'text'
  | 'withheld'
  | { readonly each: OutputFields }
  | { readonly of: OutputFields };

/** The fields of one command's request. A field without a row is refused. */
export type InputFields = Readonly<Record<string, InputField | RefuseRule>>;

/** The fields of one command's reply. A field without a row is withheld. */
export type OutputFields = Readonly<Record<string, OutputField>>;

/** A decision about every field of a request. */
export type Input<T> = Record<keyof T, InputField | RefuseRule>;
/** A decision about every field of a reply. */
export type Output<T> = Record<Exclude<keyof T, '$metadata'>, OutputField>;

/** A table without a prototype: a lookup must answer nothing for `constructor` or `__proto__`. */
export const table = <T extends object>(rows: T): T =>
  Object.freeze(Object.assign(Object.create(null) as object, rows));

export const header = (name: string): InputField => ({ as: 'same', header: name });
export const query = (name: string): InputField => ({ as: 'same', query: name });
/** A leaf in the XML of a body. */
export const leaf: InputField = { as: 'same' };

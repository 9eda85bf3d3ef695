import type { StorageNames } from './names.ts';
import type { Home } from './place.ts';
import type { CommandPlan } from './rules.ts';
import type { Sealer } from './seal.ts';

/** What rewriting needs to know of a client. */
export interface Realm {
  readonly names: StorageNames;
  readonly sealer: Sealer;
  readonly buckets: readonly string[];
  /** The keys of tags that tenants may write. */
  readonly tags: ReadonlySet<string>;
}

/** One call of one tenant: what leaves, and what its reply is read against. */
export interface Call {
  readonly operation: string;
  readonly tenant: string;
  readonly plan: CommandPlan;
  /** Where the tenant was when it was called. */
  readonly home: Home;
  /** As the server knows it. */
  readonly bucket: string;
  /** As the caller knows it. */
  readonly bucketName: string;
  /** The copy of the input that leaves, with physical names. */
  readonly input: Readonly<Record<string, unknown>>;
  /** What the caller has given, field by field, as it was read. */
  readonly given: ReadonlyMap<string, unknown>;
  /** The physical key, apart from `input`, which middleware can change. */
  readonly key: string | undefined;
  /** Query parameters that leave as they were opened, or not at all. */
  readonly sealed: ReadonlyMap<string, string>;
  /** What a continuation token of this call is sealed to. */
  readonly place: readonly string[];
  /** Whether a listing was asked for percent-encoded. */
  readonly encoded: boolean;
  /** Physical names of this call with their logical ones, for the text of errors. */
  readonly spellings: ReadonlyMap<string, string>;
  /** The persons that what is written is about; of a part, those that its upload is about. */
  readonly subjects: readonly string[];
  /** Headers that leave with just this value, or not at all. */
  readonly pinned: ReadonlyMap<string, string | undefined>;
  /** Set for a request of the client's own: it goes to `key` and nowhere else, with this body. */
  readonly errand?: { readonly body: string };
}

/** What is known of a call before its input was read. */
export interface CallStart {
  readonly operation: string;
  readonly tenant: string;
  /** The person in whose context it was made. */
  readonly subject: string | undefined;
  readonly home: Home;
  readonly plan: CommandPlan;
}

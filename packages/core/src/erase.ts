import { randomBytes } from 'node:crypto';
import { ConfigError, type Surface } from './errors.ts';
import { assertId } from './ids.ts';

/** What is erased: a whole tenant, or one person inside it. */
export interface ErasureScope {
  readonly tenant: string;
  readonly subject?: string;
}

/** So many things of one kind: `keys`, `objects`, `versions`, `jobs`, `documents`, `secrets`. */
export interface InventoryItem {
  readonly kind: string;
  readonly count: number;
  /** Bytes of payload, where the store can tell. */
  readonly bytes?: number;
}

/** What stays, and why: a legal hold, a retention period, a backup. */
export interface Kept {
  readonly kind: string;
  readonly count: number;
  readonly why: string;
  /** RFC 3339, when it can go; absent when nobody knows. */
  readonly until?: string;
}

/** What an erasure would remove and what it would keep. Making it changes nothing. */
export interface Inventory {
  readonly store: string;
  readonly items: readonly InventoryItem[];
  readonly kept: readonly Kept[];
  /**
   * What the erasure does not reach, in a sentence each: copies that replication has made, logs with names. Also what
   * could not be looked at. Without names of things that may be personal data.
   */
  readonly notes?: readonly string[];
}

/** What an erasure has removed. */
export interface Outcome {
  readonly store: string;
  readonly erased: readonly InventoryItem[];
  readonly kept: readonly Kept[];
  /** RFC 3339: when caches of other processes are certain to have dropped a destroyed key. */
  readonly completeAt?: string;
}

/**
 * Shows that the recount can see. A count of zero proves nothing when the counting itself is broken (wrong
 * prefix, row-level security that hides everything, wrong server): so something is planted under a throw-away
 * tenant, found by the very same code, and removed again.
 */
export interface PositiveControl {
  readonly planted: number;
  readonly found: number;
  /** How, in words for the certificate. */
  readonly method: string;
}

/** The recount after an erasure. */
export interface Verification {
  readonly store: string;
  readonly remaining: readonly InventoryItem[];
  readonly kept: readonly Kept[];
  readonly control: PositiveControl;
}

/** How far an eraser is. */
export interface EraseProgress {
  readonly kind: string;
  readonly done: number;
  readonly total?: number;
  readonly bytes?: number;
}

/** Where an eraser keeps its place, so that a later run goes on there. The text is the eraser's own. */
export interface Checkpoint {
  load(): Promise<string | undefined>;
  save(state: string): Promise<void>;
}

/** What the orchestrator gives to one run of an eraser. */
export interface EraseRun {
  /** Aborted when the run has to stop; the eraser throws the signal's reason and can be run again. */
  readonly signal: AbortSignal;
  readonly checkpoint: Checkpoint;
  progress(progress: EraseProgress): void;
}

/** What somebody who calls an eraser by hand may leave out; see {@link eraseRun}. */
export interface EraseRunOptions {
  readonly signal?: AbortSignal | undefined;
  readonly checkpoint?: Checkpoint | undefined;
  progress?(progress: EraseProgress): void;
}

/** One store that can forget. Every adapter exports one, so that the orchestrator knows no adapter. */
export interface Eraser {
  /** Its name in plans and certificates: `cache`, `storage:uploads`. Unique in one orchestrator. */
  readonly store: string;
  /** Keys are destroyed after data was purged, so that a purge which fails can still be inspected. Default `purge`. */
  readonly stage?: 'purge' | 'shred';
  readonly subjects: 'supported' | { readonly unsupported: string };
  /** @param signal - asks it to end early, with the signal's reason: who waits for it has given up */
  plan(scope: ErasureScope, signal?: AbortSignal): Promise<Inventory>;
  /**
   * Idempotent and resumable. Without `run` it is one run that nobody stops, begins at the beginning and reports to
   * nobody, as {@link eraseRun} says.
   */
  erase(scope: ErasureScope, run?: EraseRunOptions): Promise<Outcome>;
  /** @param signal - as for {@link plan} */
  verify(scope: ErasureScope, signal?: AbortSignal): Promise<Verification>;
}

/** How bad a {@link Finding} is. */
export type Severity = 'info' | 'low' | 'medium' | 'high' | 'critical';

/** Something in a live store that breaks isolation, or may. */
export interface Finding {
  readonly store: string;
  readonly severity: Severity;
  /** Stable and literal: `foreign_key`, `unsigned_job`. */
  readonly code: string;
  readonly message: string;
  /** The physical name, since an auditor is an operator. */
  readonly name?: string;
  readonly hint: string;
}

/** Looks at a live store for what breaks isolation. Reads only. */
export interface Auditor {
  readonly store: string;
  /**
   * One finding after the other, while it looks.
   * @param signal - ends it with the signal's reason; by default nothing does, but whoever stops to iterate
   */
  audit(signal?: AbortSignal): AsyncIterable<Finding>;
}

/**
 * Completes what an eraser was given: a run that nobody stops, which begins at the beginning and reports to nobody.
 * An erasure removes what it finds, so that beginning anew costs time and no more.
 *
 * @param operation - of the eraser, for the error: `cacheEraser.erase`
 * @throws {@link ConfigError} for something else
 */
export function eraseRun(surface: Surface, operation: string, given: EraseRunOptions = {}): EraseRun {
  const wrong = Object.entries(PARTS).find(([name, { fits }]) => {
    const part: unknown = Reflect.get(Object(given), name);
    return part !== undefined && !fits(part);
  });
  if (typeof given !== 'object' || (given as unknown) === null || wrong !== undefined) {
    throw new ConfigError({
      surface,
      operation,
      problem: wrong === undefined ? 'the run is no object' : `${wrong[0]} must be ${wrong[1].what}`,
      hint: 'It takes { signal?, checkpoint?, progress? }; createErasure of @tenantkit/erasure gives all of them.',
    });
  }
  const { signal = new AbortController().signal, checkpoint = UNKEPT } = given;
  return { signal, checkpoint, progress: (progress) => given.progress?.(progress) };
}

/**
 * Checks what is to be erased, before anything is: a person who was not found (`subject: undefined`) or a member that
 * is spelled otherwise would be taken for the whole tenant.
 *
 * @param operation - of the eraser, for the error: `cacheEraser.erase`
 * @returns a copy with these members only
 * @throws {@link ConfigError} for a `subject` that is there and undefined, and for any other member
 * @throws {@link InvalidTenantError} for what is no id
 */
export function erasureScope(surface: Surface, operation: string, given: ErasureScope): ErasureScope {
  const names = Object.keys(Object(given));
  const unknown = names.find((name) => name !== 'tenant' && name !== 'subject');
  const { tenant, subject } = Object(given) as Partial<ErasureScope>;
  // Not an own member: of a class with accessors, an entity of an ORM, it is the prototype's.
  const isUnsaid = 'subject' in Object(given) && subject === undefined;
  if (unknown !== undefined || isUnsaid) {
    throw new ConfigError({
      surface,
      operation,
      problem: isUnsaid
        ? 'subject is there, and undefined'
        : `unknown member ${unknown} of what is to be erased`,
      hint: 'Give { tenant, subject } with the id of a person, or { tenant } alone, which erases all of the tenant.',
    });
  }
  assertId(tenant, 'tenant');
  if (subject === undefined) return { tenant };
  assertId(subject, 'subject');
  return { tenant, subject };
}

/**
 * Completes what an auditor was given: a signal that nobody aborts.
 *
 * @param operation - of the auditor, for the error: `cacheAuditor.audit`
 * @throws {@link ConfigError} for something else, which would not end the audit
 */
export function auditSignal(surface: Surface, operation: string, given?: AbortSignal): AbortSignal {
  if (given === undefined) return new AbortController().signal;
  if (given instanceof AbortSignal) return given;
  throw new ConfigError({
    surface,
    operation,
    problem: 'the signal must be an AbortSignal',
    hint: 'Give AbortSignal.timeout(60_000), the signal of an AbortController, or nothing.',
  });
}

const UNKEPT: Checkpoint = {
  load: () => Promise.resolve(undefined),
  save: () => Promise.resolve(),
};

const PARTS = {
  signal: { fits: (part) => part instanceof AbortSignal, what: 'an AbortSignal' },
  checkpoint: {
    fits: (part) => ['load', 'save'].every((name) => typeof Reflect.get(Object(part), name) === 'function'),
    what: '{ load(), save(state) }',
  },
  progress: { fits: (part) => typeof part === 'function', what: 'a function' },
} as const satisfies Record<
  keyof EraseRun,
  { readonly fits: (part: unknown) => boolean; readonly what: string }
>;

/** Whether nothing is left but what must be kept, and the recount was shown to see. */
export function isVerified({ remaining, control }: Verification): boolean {
  return (
    remaining.every(({ count }) => count === 0) && control.planted > 0 && control.found === control.planted
  );
}

/** A throw-away tenant id for positive controls; `tk-control-` and 128 random bits. */
export function controlTenant(): string {
  return `tk-control-${randomBytes(16).toString('hex')}`;
}

import type { JobJson, ParentKeys } from 'bullmq';
import { ConfigError, refusal, refuse } from '@tenantkit/core';
import { laneName } from '../lanes/names.ts';
import { checkNewId } from '../names.ts';
import { logicalFailure, logicalKey, ownNode, type Naming } from './names.ts';

/** What binds a job to its parent, with physical names. */
export interface Link {
  /** The key of the parent's hash. */
  readonly parentKey: string;
  /** BullMQ's field `parent`: which one it is, and what a failure of the child does to it. */
  readonly parent: ParentKeys;
  /** The option `parent`, as it is stored. */
  readonly option: { readonly id: string; readonly queue: string };
}

/** What a failure of the child does, and how BullMQ writes it into the link; a job has at most one of them. */
const ON_FAILURE = {
  failParentOnFailure: 'fpof',
  removeDependencyOnFailure: 'rdof',
  ignoreDependencyOnFailure: 'idof',
  continueParentOnFailure: 'cpof',
} as const;
const FLAGS = Object.entries(ON_FAILURE);
const NO_FLAGS: typeof FLAGS = [];

const EXCLUSIVE = refuse(
  'the job has more than one option of what its failure does to its parent',
  'Use one of failParentOnFailure, removeDependencyOnFailure, ignoreDependencyOnFailure, continueParentOnFailure.',
);
const DEDUPLICATED = refuse(
  'a job with a parent cannot be a duplicate, as in BullMQ: its parent would wait for another job',
  'Leave deduplication out, or give the job a jobId.',
);
const BAD_QUEUE = refuse(
  'the queue of the parent is none that this one can have a parent in',
  'Give its qualified name, prefix and queue, as in parent: { id: job.id, queue: job.queueQualifiedName }.',
);
const OF_ITSELF = refuse('the job would be its own parent', 'Give another id, or another parent.');

/**
 * What binds a job to the parent that its options name. The parent is one of the same tenant by construction: the
 * option says its queue and its logical id, and the tenant of the call stands in both of what they become.
 *
 * @param options - of the job, checked one by one
 * @returns `undefined` for a job without a parent
 * @throws {@link OperationRefusedError} on a parent that cannot be one
 */
export function linkOf(
  { prefix, names }: Naming,
  tenant: string,
  operation: string,
  options: Readonly<Record<string, unknown>>,
): Link | undefined {
  const isFlagged = ([option]: (typeof FLAGS)[number]): boolean => options[option] === true;
  const flags = FLAGS.some(isFlagged) ? FLAGS.filter(isFlagged) : NO_FLAGS;
  if (flags.length > 1) throw refusal('queue', operation, EXCLUSIVE);
  const { parent } = options as { readonly parent?: { readonly id: string; readonly queue: string } };
  if (parent === undefined) return undefined;
  if (options['deduplication'] !== undefined) throw refusal('queue', operation, DEDUPLICATED);
  // Not one that a scheduler has made: BullMQ's scripts take the part behind the last colon for its id.
  const logical = checkNewId(operation, parent.id);
  if (logical === undefined || !parent.queue.startsWith(`${prefix}:`))
    throw refusal('queue', operation, BAD_QUEUE);
  const queueKey = `${prefix}:${laneOf(operation, parent.queue.slice(prefix.length + 1), tenant)}`;
  const id = names.encode(tenant, logical);
  return {
    parentKey: `${queueKey}:${id}`,
    parent: { id, queueKey, ...Object.fromEntries(flags.map(([, flag]) => [flag, true])) },
    option: { id, queue: queueKey },
  };
}

/** @throws {@link OperationRefusedError} when the parent is the job itself, which would wait for ever */
export function checkNotItself(operation: string, link: Link | undefined, key: string): void {
  if (link?.parentKey === key) throw refusal('queue', operation, OF_ITSELF);
}

function laneOf(operation: string, queue: string, tenant: string): string {
  try {
    return laneName(queue, tenant);
  } catch (error) {
    if (error instanceof ConfigError) throw refusal('queue', operation, BAD_QUEUE);
    throw error;
  }
}

/**
 * Whether what a job says of its parent agrees with itself and stays in its tenant. It is asked of a job that verifies:
 * whoever has signed it may be a program that builds keys in its own way, and BullMQ's scripts go wherever they lead.
 *
 * @param key - the hash field `parentKey`, `undefined` without one
 * @param text - the hash field `parent`
 */
export function isLinkSound(
  naming: Naming,
  tenant: string,
  key: string | undefined,
  text: string | undefined,
): boolean {
  if (key === undefined || key === '') return text === undefined;
  if (text === undefined) return false;
  const parent: unknown = JSON.parse(text);
  const { id, queueKey } = Object(parent) as { readonly id?: unknown; readonly queueKey?: unknown };
  const node = ownNode(naming, tenant, key);
  if (node === undefined || node.id !== id) return false;
  // A list of one text would read as that text.
  return typeof queueKey === 'string' && `${queueKey}:${node.id}` === key;
}

const NO_LINKS: Partial<JobJson> = Object.freeze({});

/** Of a job what names its parent, and its children in a failure, as its tenant sees it. */
export function logicalLinks(
  naming: Naming,
  tenant: string,
  { parentKey, parent, deferredFailure }: JobJson,
): Partial<JobJson> {
  if (parentKey === undefined && deferredFailure === undefined) return NO_LINKS;
  const own = parentKey === undefined ? undefined : ownNode(naming, tenant, parentKey);
  const queueKey = `${naming.prefix}:${own?.queue}`;
  return {
    ...(deferredFailure === undefined
      ? {}
      : { deferredFailure: logicalFailure(naming, tenant, deferredFailure) }),
    ...(own === undefined
      ? {}
      : { parentKey: logicalKey(naming, own), parent: { ...parent, id: own.logical, queueKey } }),
  };
}

/** The options of a job as its tenant sees them: with the parent that the job has, whichever one it was added with. */
export function logicalOptions<Options extends { parent?: unknown }>(
  options: Options,
  { parent }: Partial<JobJson>,
): Omit<Options, 'parent'> & { parent?: { id: string; queue: string } } {
  if (parent === undefined && options.parent === undefined) return options as Omit<Options, 'parent'>;
  const { parent: _added, ...rest } = options;
  return parent === undefined ? rest : { ...rest, parent: { id: parent.id ?? '', queue: parent.queueKey } };
}

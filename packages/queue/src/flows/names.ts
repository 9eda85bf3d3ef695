import { RATE_LIMIT_ERROR } from 'bullmq';
import type { NameCodec } from '@tenantkit/core';
import { tenantOfLane } from '../lanes/names.ts';

/** What the names of one deployment are made with. */
export interface Naming {
  readonly prefix: string;
  readonly names: NameCodec;
}

/** A job of a flow, which may be in any queue of its tenant. */
export interface NodeName {
  /** The logical name of its queue. */
  readonly queue: string;
  readonly tenant: string;
  /** The id in its lane. */
  readonly id: string;
  /** The id by which its tenant knows it. */
  readonly logical: string;
}

/**
 * Which job the key of a flow names: `bull:reports~acme:acme~7`. Every key that a flow leads to goes through here, before
 * anything is read there: whoever writes to Redis may have written any text.
 *
 * @returns `undefined` for anything but an ordinary job in the lane of the tenant that its id says
 */
export function nodeOf({ prefix, names }: Naming, key: string): NodeName | undefined {
  if (!key.startsWith(`${prefix}:`)) return undefined;
  const [lane = '', id = '', ...more] = key.slice(prefix.length + 1).split(':');
  const [queue = ''] = lane.split('~', 1);
  if (more.length > 0 || queue === '') return undefined;
  const tenant = tenantOfLane(queue, lane);
  if (tenant === undefined || !names.owns(tenant, id)) return undefined;
  return { queue, tenant, id, logical: names.decode(tenant, id) };
}

/** The same for a tenant, to whom no other one's job is named. */
export function ownNode(naming: Naming, tenant: string, key: string): NodeName | undefined {
  const node = nodeOf(naming, key);
  return node?.tenant === tenant ? node : undefined;
}

/** The key by which a tenant knows a job of a flow: `bull:reports:7`, as BullMQ's own would be. */
export function logicalKey({ prefix }: Pick<Naming, 'prefix'>, { queue, logical }: NodeName): string {
  return `${prefix}:${queue}:${logical}`;
}

/** What BullMQ writes into a parent whose child has failed for good: it names the child by its key. */
const DEFERRED = /^child (?<key>.+) failed$/su;

/** The same as the parent's tenant may read it. */
export function logicalFailure(naming: Naming, tenant: string, text: string): string {
  const key = DEFERRED.exec(text)?.groups?.['key'];
  // BullMQ would take this text of a job's hash, which nobody has signed, for its limiter: back to the front, for ever.
  if (text === RATE_LIMIT_ERROR) return 'a child failed';
  if (key === undefined) return text;
  const node = ownNode(naming, tenant, key);
  return node === undefined ? 'a child failed' : `child ${logicalKey(naming, node)} failed`;
}

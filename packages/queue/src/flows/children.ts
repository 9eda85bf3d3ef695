import { SignatureError } from '@tenantkit/core';
import { judgeRead, type StoreContext } from '../store.ts';
import type { JobHash } from '../verify.ts';
import { logicalKey, ownNode, type NodeName } from './names.ts';
import { flowClient, replies } from './scripts.ts';

/** How many children are read at once: each of them with its data, which its header binds. */
const BATCH = 100;

/** What is asked of the children of a job. */
export interface Parent {
  readonly context: StoreContext;
  readonly tenant: string;
  /** The key of the parent's hash. */
  readonly key: string;
  /** Reads in whichever queue. */
  readonly home: Parameters<typeof flowClient>[0];
}

/** A child of a job. */
export interface Child {
  /** The key under which the parent's tenant knows it. */
  readonly logical: string;
  readonly node: NodeName;
  /** Whether it is stored; one that was removed when it had ended has only its name and its result. */
  readonly isStored: boolean;
}

/**
 * Which keys are those of children of a job. What BullMQ keeps under a parent are texts that no header binds: so a child
 * is asked itself. It has to be one of the same tenant, and what is stored of it has to verify and to name this parent.
 * Of a child that was removed, as `removeOnComplete` does, nothing is left to verify: its name is believed.
 *
 * @returns the children by their keys
 */
export async function childrenOf(
  { context, tenant, key: parentKey, home }: Parent,
  keys: readonly string[],
): Promise<ReadonlyMap<string, Child>> {
  const client = await flowClient(home);
  const own = [...new Set(keys)].flatMap((key) => {
    const node = ownNode(context, tenant, key);
    return node === undefined ? [] : [{ key, node }];
  });
  const found = new Map<string, Child>();
  for (let at = 0; at < own.length; at += BATCH) {
    const batch = own.slice(at, at + BATCH);
    const pipeline = client.pipeline();
    for (const { key } of batch) pipeline.hgetall(key);
    const hashes = await replies(pipeline);
    for (const [index, { key, node }] of batch.entries()) {
      const hash = hashes[index] as JobHash;
      const isStored = Object.keys(hash).length > 0;
      if (isStored && !isChild(context, node, hash, parentKey)) continue;
      found.set(key, { logical: logicalKey(context, node), node, isStored });
    }
  }
  return found;
}

function isChild(
  context: StoreContext,
  { queue, tenant, id }: NodeName,
  hash: JobHash,
  parent: string,
): boolean {
  try {
    judgeRead({ context: context.of(queue), lane: tenant }, hash, id);
    return hash['parentKey'] === parent;
  } catch (error) {
    if (error instanceof SignatureError) return false;
    throw error;
  }
}

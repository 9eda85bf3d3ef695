import { currentScope, refusal, refuse } from '@tenantkit/core';
import { rowOf } from './rows.ts';
import { callerOf } from './caller.ts';
import { Sent } from './sent.ts';
import { commandOf } from './tenant-keys.ts';
import type { Wiring } from './wiring.ts';

const SPREAD = refuse(
  'the keys of a tenant are on all nodes, and a connection goes to one',
  'Make the cluster with tenant: { hashTag: true }; or use multi() for keys of one slot, and cluster.duplicate() inside the tenant for commands that wait.',
);

const ACROSS = refuse(
  'inside acrossTenants there is no tenant whose slot would say which node lends it',
  'Call cluster.duplicate() inside acrossTenants: what it gives may wait, and disconnect() ends it.',
);

/** A key of the tenant, if the one that the server picks is: the names of others end here. */
export async function pickBy(wiring: Wiring | undefined): Promise<Buffer | undefined> {
  if (wiring === undefined) return undefined;
  const names = wiring.guard.namesOf('randomkey');
  try {
    const key = await wiring.ask('randomkey', []);
    return Buffer.isBuffer(key) && names.owns(key) ? names.decode(key, 'randomkey') : undefined;
  } catch (error) {
    // A user who may not ask for it may still SCAN.
    if (error instanceof Error && error.message.startsWith('NOPERM')) return undefined;
    throw error;
  }
}

/** What a node of a cluster says about slots: no keys, and nothing of anybody. */
export async function nodesBy(wiring: Wiring | undefined): Promise<unknown> {
  return wiring?.ask('cluster', ['NODES']);
}

/**
 * A command on a key of the tenant, by which the node is found that holds all of them.
 * @throws {@link MissingTenantError}
 * @throws {@link OperationRefusedError} where the keys of a tenant are on all nodes, and inside acrossTenants
 */
export function home({ guard }: Wiring, operation: string): Sent {
  if (currentScope()?.bypass !== undefined) throw refusal('cache', operation, ACROSS);
  const names = guard.namesOf(operation);
  if (!guard.names.isTagged) throw refusal('cache', operation, SPREAD);
  const command = commandOf('exists', [names.prefix]);
  return new Sent(names, rowOf(command.name, []), command.name, [names.prefix], callerOf(command));
}

import type { DependenciesOpts, DependencyOpts, MoveToWaitingChildrenOpts } from 'bullmq';
import { refusal, refuse, type TenantContext } from '@tenantkit/core';
import type { Lane } from '../lanes/lane.ts';
import { answersOf, transact } from '../lanes/transaction.ts';
import { isJson, judgeRead } from '../store.ts';
import type { JobHash } from '../verify.ts';
import { position, token } from '../views/checks.ts';
import { change, loopId, onLane, physicalId, type Guard, type Handler } from '../views/guard.ts';
import { childrenOf, type Child, type Parent } from './children.ts';
import { resigned } from './insert.ts';
import { linkOf } from './link.ts';
import { prune } from './prune.ts';
import { flowClient, put } from './scripts.ts';

const KINDS = ['processed', 'unprocessed', 'ignored', 'failed'] as const;
type Kind = (typeof KINDS)[number];

const BAD_KIND = refuse('the kind of children is not one that it knows', `Use one of: ${KINDS.join(', ')}.`);
const UNREADABLE = refuse(
  'what is stored of the children cannot be read',
  'Somebody has written to Redis past this queue; look at the job as an operator.',
);

/** What a job asks of its children and of its parent, in whichever queues of its tenant they are. */
export const flowHandlers = {
  async childrenValues(guard, tenant, operation, [id]) {
    const parent = parentOf(guard, tenant, operation, id);
    const found = (await onLane(guard, tenant, operation, [parent.id])) as Readonly<Record<string, string>>;
    const readable = Object.entries(found).filter(([, value]) => isJson(value));
    return named(await childrenOf(parent, Object.keys(found)), readable);
  },

  async childrenFailures(guard, tenant, operation, [id]) {
    const parent = parentOf(guard, tenant, operation, id);
    const found = (await onLane(guard, tenant, operation, [parent.id])) as Readonly<Record<string, string>>;
    return named(await childrenOf(parent, Object.keys(found)), Object.entries(found));
  },

  async dependencies(guard, tenant, operation, [id, options]) {
    const parent = parentOf(guard, tenant, operation, id);
    const found = await readable(operation, () =>
      guard.store.lane(tenant.tenant).getDependencies(parent.id, pages(operation, options)),
    );
    const { processed = {}, unprocessed = [], ignored = {}, failed = [], ...cursors } = found;
    const keys = [...Object.keys(processed), ...unprocessed, ...Object.keys(ignored), ...failed];
    const children = await childrenOf(parent, keys);
    const only = (list: readonly string[]): string[] =>
      list.flatMap((key) => children.get(key)?.logical ?? []);
    return {
      ...cursors,
      ...(found.processed === undefined ? {} : { processed: named(children, Object.entries(processed)) }),
      ...(found.unprocessed === undefined ? {} : { unprocessed: only(unprocessed) }),
      ...(found.ignored === undefined ? {} : { ignored: named(children, Object.entries(ignored)) }),
      ...(found.failed === undefined ? {} : { failed: only(failed) }),
    };
  },

  async dependencyCounts(guard, tenant, operation, [id, types]) {
    const physical = physicalId(guard, tenant, operation, id);
    const wanted = (Array.isArray(types) ? types : []).map((type: unknown) => kindOf(operation, type));
    return onLane(guard, tenant, operation, [physical, wanted]);
  },

  /** By the link that is stored: that of the object is whatever its holder has made of it. */
  async removeChildDependency(guard, tenant, operation, [given]) {
    const id = physicalId(guard, tenant, operation, given);
    return change(guard, tenant, operation, (lane) => cut(guard, lane, id));
  },

  async removeUnprocessedChildren(guard, tenant, operation, [id]) {
    const parent = parentOf(guard, tenant, operation, id);
    await change(guard, tenant, operation, async (lane) => {
      await prune(operation, parent, false);
      await lane.removeUnprocessedChildren(parent.id);
      // What was taken away as no child may have been the last that it waited for.
      const { client } = lane;
      const queueKey = lane.toKey('').slice(0, -1);
      const args = [parent.key, `${parent.key}:dependencies`, queueKey, parent.id, Date.now()];
      await lane.execCommand(await client, 'releaseParentIfNoPendingDependencies', args);
      guard.store.touch(tenant.tenant);
    });
  },

  async waitForChildren(guard, tenant, operation, [given, lock, options]) {
    const id = physicalId(guard, tenant, operation, given);
    const own = token(operation, lock);
    const { child } = Object(options) as MoveToWaitingChildrenOpts;
    // A child is named as a parent is.
    const link = linkOf(guard.context, tenant.tenant, operation, { parent: checkedChild(operation, child) });
    return change(guard, tenant, operation, async (lane) => {
      const found = await lane.readVerified(id);
      if (found === undefined) throw lane.finishedErrors({ code: -1, jobId: id, command: operation });
      return guard.store.moveToWaitingChildren(
        loopId(guard, tenant, id),
        own,
        link === undefined ? {} : { child: { id: link.parent.id ?? '', queue: link.parent.queueKey } },
      );
    });
  },
} satisfies Readonly<Record<string, Handler>>;

function parentOf(
  guard: Guard,
  { tenant }: TenantContext,
  operation: string,
  id: unknown,
): Parent & { readonly id: string } {
  const lane = guard.store.lane(tenant);
  const physical = physicalId(guard, { tenant }, operation, id);
  return { context: guard.context, tenant, key: lane.toKey(physical), home: lane, id: physical };
}

/** What stands under the keys of children, under the names by which the tenant knows them. */
function named<T>(
  children: ReadonlyMap<string, Child>,
  entries: readonly (readonly [string, T])[],
): Record<string, T> {
  return Object.fromEntries(
    entries.flatMap(([key, value]) => {
      const child = children.get(key);
      return child === undefined ? [] : [[child.logical, value] as const];
    }),
  );
}

/**
 * Takes a child from its parent, in one transaction with the header that it has without one.
 *
 * @returns whether it was one
 */
async function cut({ context, store }: Guard, lane: Lane, id: string): Promise<boolean> {
  const client = await flowClient(lane);
  const key = lane.toKey(id);
  // Set when BullMQ has taken the child away, and the job was changed by somebody else at the same time.
  let isCut = false;
  for (;;) {
    const hash: JobHash = await client.hgetall(key);
    const errors = { jobId: id, command: 'removeChildDependency' };
    if (Object.keys(hash).length === 0) throw lane.finishedErrors({ ...errors, code: -1 });
    judgeRead({ context, lane: lane.tenant }, hash, id);
    const { parentKey } = hash;
    if (parentKey === undefined) return isCut;
    const options = resigned({ context, lane: lane.tenant }, hash, id, undefined);
    const mode = isCut ? 'cut' : 'unlink';
    const sent = await transact(client, (multi) => {
      put(multi, 'hold', [key, hash['opts'] ?? '']);
      lane.execCommand(multi, 'removeChildDependency', [lane.toKey(''), key, parentKey]);
      put(multi, 'settle', [key, parentKey, hash['opts'] ?? '', options, key, mode]);
    });
    const [, code, settled] = answersOf(sent);
    isCut ||= code === 0;
    store.touchParent(parentKey);
    if (settled === -1) continue;
    if (isCut || code === 1) return isCut;
    throw lane.finishedErrors({ ...errors, code: Number(code), parentKey });
  }
}

function pages(operation: string, given: unknown): DependenciesOpts {
  const options = Object(given) as Readonly<Record<string, unknown>>;
  const checked: Partial<Record<Kind, DependencyOpts>> = {};
  for (const kind of KINDS) {
    if (options[kind] === undefined) continue;
    const { cursor, count } = Object(options[kind]) as DependencyOpts;
    checked[kind] = {
      ...(cursor === undefined ? {} : { cursor: position(operation, cursor) }),
      ...(count === undefined ? {} : { count: position(operation, count) }),
    };
  }
  return checked;
}

function kindOf(operation: string, given: unknown): Kind {
  const kind = KINDS.find((one) => one === given);
  if (kind === undefined) throw refusal('queue', operation, BAD_KIND);
  return kind;
}

function checkedChild(operation: string, child: unknown): { id: string; queue: string } | undefined {
  if (child === undefined) return undefined;
  const { id, queue } = Object(child) as { readonly id?: unknown; readonly queue?: unknown };
  if (typeof id !== 'string' || typeof queue !== 'string') throw refusal('queue', operation, BAD_CHILD);
  return { id, queue };
}

const BAD_CHILD = refuse(
  'the child is not named as one',
  'Use child: { id: child.id, queue: child.queueQualifiedName }, or leave it out to wait for all of them.',
);

// BullMQ parses what it finds, and the message of a SyntaxError quotes it.
async function readable<T>(operation: string, read: () => Promise<T>): Promise<T> {
  try {
    return await read();
  } catch (error) {
    if (error instanceof SyntaxError) throw refusal('queue', operation, UNREADABLE);
    throw error;
  }
}

import { createIORedisClient, isRedisInstance, RedisConnection, type RedisQueueBackend } from 'bullmq';
import { publish, runInScope } from '@tenantkit/core';
import { guardBackend } from '../backend.ts';
import { checkCluster } from '../cluster.ts';
import { checkConnection, type StoreOptions } from '../connections.ts';
import { laneKeys } from '../lanes/names.ts';
import { LoopStore } from '../lanes/loop.ts';
import type { StoreContext } from '../store.ts';
import { Audience } from './audience.ts';
import { readEntry } from './entries.ts';
import { Reader, type ReaderParts } from './reader.ts';
import { Readers } from './readers.ts';
import { Waits } from './waits.ts';

/** What stands behind a QueueEvents; kept outside of it. */
export interface Feed {
  readonly context: StoreContext;
  readonly audience: Audience;
  readonly waits: Waits;
  readonly readers: Readers;
  /** Of the pool. */
  readonly store: LoopStore;
  closed: boolean;
}

const feeds = new WeakMap<object, Feed>();

/** The feed of a QueueEvents of ours; `undefined` for any other object. */
export function feedOf(events: object): Feed | undefined {
  return feeds.get(events);
}

/** Gives a QueueEvents its feed. */
export function setFeed(events: object, feed: Feed): void {
  feeds.set(events, feed);
}

/** How a QueueEvents reads. */
export interface FeedOptions {
  readonly from: string | undefined;
  readonly timeout: number;
}

/** The store of a QueueEvents: the connection that it was given, and one of its own to wait on. */
export function openFeedStore(context: StoreContext, options: StoreOptions): LoopStore {
  // Before the first of the two is opened.
  checkConnection(options.connection);
  checkCluster(options.connection, context.prefix, context.queue);
  return runInScope(
    undefined,
    () => new LoopStore({ context, options, blocking: connectToWait(context, options) }),
  );
}

/** Puts listeners, waits and the readers together. */
export function makeFeed(store: LoopStore, options: StoreOptions, how: FeedOptions): Feed {
  const { context } = store;
  const waits = new Waits((tenant) => readers.changed(tenant));
  const audience = new Audience({
    fence: context.fence,
    enter: (tenant, operation) => void readers.at(tenant, operation),
    changed: (tenant) => readers.changed(tenant),
  });
  const parts = readerParts(context, waits, audience, how);
  const fail = (error: unknown, tenant?: string): void => {
    if (feed.closed) return;
    if (tenant === undefined) audience.broadcast('error', [error]);
    else audience.fail(error, tenant);
  };
  const readers: Readers = new Readers({
    context,
    pool: store,
    isShared: isRedisInstance(options.connection),
    open: (connection) => {
      const silo = openFeedStore(context, { ...options, connection });
      // Of the pool BullMQ's own class tells.
      silo.on('error', fail);
      return silo;
    },
    read(of, isHere) {
      // BullMQ tells of the one connection that it has; here it is the one on which nothing is heard any more.
      of.blockingConnection?.on('close', () => {
        if (!feed.closed) audience.broadcast('ioredis:close', []);
      });
      return new Reader({ ...parts, store: of, isHere, failed: fail });
    },
    wants: parts.wants,
    wantsAll: parts.wantsAll,
    failed: fail,
  });
  const feed: Feed = { context, audience, waits, readers, store, closed: false };
  return feed;
}

/** What the readers of all places have in common. */
function readerParts(
  { fence, names, queue, prefix }: StoreContext,
  waits: Waits,
  audience: Audience,
  { from, timeout }: FeedOptions,
): Omit<ReaderParts, 'store' | 'isHere' | 'failed'> {
  return {
    keys: laneKeys(prefix, queue),
    fence,
    from,
    timeout,
    wants: (tenant) => audience.hears(tenant) || waits.has(tenant),
    wantsAll: () => audience.hearsAll,
    deliver(tenant, id, fields) {
      const heard = readEntry(names, tenant, fields);
      if (heard === undefined) return false;
      const { event, args, jobId } = heard;
      if (jobId !== undefined) waits.settle(tenant, event, jobId, args ?? {});
      const given = args === undefined ? [id] : [args, id];
      audience.deliver(tenant, event, given);
      if (jobId !== undefined) audience.deliver(tenant, `${event}:${jobId}`, given);
      return true;
    },
    refused: (tenant, count) =>
      publish('refused', {
        surface: 'queue',
        operation: 'QueueEvents',
        message: 'Entries of an events stream that are no events of its tenant were withheld.',
        tenant,
        extra: { queue, count },
      }),
    erased(tenant) {
      waits.expel(tenant);
      audience.expel(tenant);
    },
  };
}

/** The backend of a QueueEvents: of the connection for commands, which may be the caller's, it tells errors only. */
export function openBackend(store: LoopStore, owner: object): RedisQueueBackend {
  const backend = guardBackend(store, store.context, owner);
  const listen = backend.on.bind(backend);
  return Object.defineProperty(backend, 'on', {
    value: (...[event, listener]: Parameters<typeof listen>) =>
      event === 'close' ? backend : listen(event, listener),
    configurable: true,
  });
}

/** Under the name by which BullMQ's `getQueueEvents` finds it. */
function connectToWait(
  { prefix, queue }: StoreContext,
  { connection, skipVersionCheck = false }: StoreOptions,
): RedisConnection {
  const own = {
    connectionName: `${prefix}:${Buffer.from(queue).toString('base64')}:qe`,
    // What waits when the connection is lost is sent anew, for the lanes and the entries of then: see blocked.ts.
    autoResendUnfulfilledCommands: false,
  };
  return new RedisConnection(
    isRedisInstance(connection) ? createIORedisClient(connection).duplicate(own) : { ...connection, ...own },
    { shared: false, blocking: true, skipVersionCheck },
  );
}

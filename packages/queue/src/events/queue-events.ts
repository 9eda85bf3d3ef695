import { QueueEvents as RawQueueEvents } from 'bullmq';
import { currentTenant } from '@tenantkit/core';
import { finish, guardMembers, wire } from '../client.ts';
import { runEngine } from '../engine.ts';
import type { Loose } from '../job.ts';
import { emitterRules, queueEventsRules } from '../rules.ts';
import { feedOf, makeFeed, openBackend, openFeedStore, setFeed, type Feed } from './feed.ts';
import { checkEventsOptions, type QueueEventsOptions } from './options.ts';

/** BullMQ's default of `blockingTimeout`, in milliseconds. */
const TIMEOUT = 10_000;

/** Whose loops may pass the guards. */
const owners = new WeakMap<object, object>();

/** What BullMQ's class does with its one stream, done with the streams of lanes. The guards stand before it. */
class LaneEvents<ReturnType> extends RawQueueEvents<ReturnType> {
  override async run(): Promise<void> {
    await mine(this).readers.run();
  }

  override async waitUntilReady(): Promise<void> {
    const { store, readers } = mine(this);
    await store.waitUntilReady();
    await readers.ready(currentTenant()?.tenant);
  }

  override async disconnect(): Promise<void> {
    for (const { store, isShared } of mine(this).readers.seats) {
      await store.disconnectBlocking();
      if (!isShared) await store.disconnect();
    }
  }

  override close(): Promise<void> {
    this.closing ??= this.#end();
    return this.closing;
  }

  async #end(): Promise<void> {
    const feed = mine(this);
    feed.closed = true;
    feed.readers.close();
    feed.waits.close();
    try {
      // Nothing is written that would be lost; to wait for an answer would be to wait for the next event.
      await Promise.all(feed.readers.seats.map(({ store }) => store.close(true)));
    } finally {
      this.closed = true;
    }
  }
}

/**
 * BullMQ's QueueEvents over the lanes of a queue. A listener that was registered inside a tenant hears the events of
 * that tenant's jobs only, with logical ids; one that was registered in `acrossTenants` hears those of all tenants, each
 * inside its tenant. Outside of any tenant only `error` and `ioredis:close` can be listened to.
 *
 * Events are text that nobody has signed: results and reasons in them are what somebody with access to Redis has
 * written. What names no job of the tenant is withheld.
 *
 * @typeParam ReturnType - as in BullMQ
 * @throws {@link ConfigError} when the options are not usable
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { Queue, QueueEvents } from '@tenantkit/queue';
 * const connection = { host: 'localhost' };
 * const queue = new Queue('mail', { connection, tenant: { signingKeys } });
 * const events = new QueueEvents('mail', { connection, tenant: { signingKeys } });
 * await withTenant('acme', async () => {
 *   events.on('failed', ({ jobId, failedReason }) => console.log(jobId, failedReason));
 *   const job = await queue.add('welcome', { to: 'ada@example.com' });
 *   await job.waitUntilFinished(events, 10_000);
 * });
 * ```
 */
export class QueueEvents<ReturnType = Loose> extends LaneEvents<ReturnType> {
  static {
    guardMembers(this.prototype, LaneEvents.prototype, {
      rules: queueEventsRules,
      caller: 'queueEvents',
      owner: (self) => owners.get(self),
    });
    for (const [member, { custom }] of Object.entries(emitterRules)) {
      Object.defineProperty(this.prototype, member, {
        value(this: RawQueueEvents, ...args: unknown[]): unknown {
          return mine(this).audience.handlers[custom](this, member, args);
        },
        configurable: true,
        writable: true,
      });
    }
  }

  /**
   * @param name - the queue's name, shared by all tenants
   * @param options - BullMQ's own, and `tenant`
   */
  constructor(name: string, options: QueueEventsOptions) {
    const { raw, tenant } = checkEventsOptions(options);
    const wiring = wire(name, tenant, raw.prefix);
    const { context, owner } = wiring;
    const store = openFeedStore(context, raw);
    // BullMQ would start its loop in the context of whoever constructs it: started below, outside.
    super(name, { ...raw, autorun: false }, () => openBackend(store, owner));
    // Needed while BullMQ's constructor ran; from now on the guard answers.
    Reflect.deleteProperty(this.backend, 'on');
    owners.set(this, owner);
    const { lastEventId = '$', blockingTimeout = TIMEOUT, autorun = true } = raw;
    const from = lastEventId === '$' ? undefined : lastEventId;
    setFeed(this, makeFeed(store, raw, { from, timeout: blockingTimeout }));
    finish(this, wiring);
    if (autorun) runEngine(owner, () => this.run()).catch((error: Error) => this.emit('error', error));
  }
}

function mine(events: object): Feed {
  const feed = feedOf(events);
  if (feed === undefined) throw new TypeError('the QueueEvents is not constructed yet');
  return feed;
}

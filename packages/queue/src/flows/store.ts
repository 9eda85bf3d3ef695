import { QueueKeys, RedisQueueBackend, type FlowJobEntry, type FlowProducerOptions } from 'bullmq';
import { refusal, refuse, requireScope, type Scope, type TenantContext } from '@tenantkit/core';
import { guardBackend } from '../backend.ts';
import { connect, type StoreOptions } from '../connections.ts';
import { OperatedStore } from '../lanes/operator.ts';
import { toList } from '../list.ts';
import { Silos } from '../silos.ts';
import type { StoreContext } from '../store.ts';
import { admitted, stillAdmitted, type Guard } from '../views/guard.ts';
import { sign } from '../views/sign.ts';
import { insert, type Insertion } from './insert.ts';

/** How many queues are remembered. One costs a few KB, and is made again when it is needed. */
const REMEMBERED = 500;

const OTHER_PREFIX = refuse(
  'a job of the flow has another prefix than the FlowProducer',
  'Leave prefix out of the jobs; give it to a FlowProducer of its own.',
);
const NO_TENANT_TO_SIGN = refuse(
  'a flow belongs to a tenant, and acrossTenants names none',
  'Enter the tenant first: withTenant(id, () => flows.add(…)) works inside acrossTenants.',
);
const NOTHING = refuse('there is no job to add', 'Give { name, queueName, data, children }.');

/** What a FlowProducer is made with. */
export interface FlowStoreParts {
  readonly of: (queue: string) => StoreContext;
  readonly prefix: string;
  readonly options: FlowProducerOptions;
  /** Whose loops may pass with physical names: nobody's. */
  readonly owner: object;
  /** For the store of a silo: that of the shared Redis. */
  readonly pool?: FlowStore;
}

/**
 * What stands behind a FlowProducer: the connection, and the queues that its flows go through. It is no queue itself,
 * and is never handed out.
 */
export class FlowStore extends RedisQueueBackend {
  readonly #parts: FlowStoreParts;
  readonly #queues = new Map<string, OperatedStore>();
  readonly #silos: Silos<FlowStore> | undefined;

  constructor(parts: FlowStoreParts) {
    const keys = new QueueKeys(parts.prefix);
    super(connect(parts.options), '', Object.freeze(keys.getKeys('')), (type) => keys.toKey('', type), {
      ...parts.options,
      prefix: parts.prefix,
    } as StoreOptions);
    this.#parts = parts;
    // Of any queue: where a tenant is is the same for all of them.
    const { place, fence } = parts.of('flows');
    if (parts.pool !== undefined || place === undefined) return;
    this.#silos = new Silos({
      place,
      fence,
      open: (connection) => {
        const silo = new FlowStore({ ...parts, options: { ...parts.options, connection }, pool: this });
        return silo.on('error', (error) => this.emit('error', error));
      },
      failed: (error) => this.emit('error', error),
    });
  }

  /** The guarded backend of a queue, on the connection of this one. */
  override forQueue(queue: string, prefix?: string): RedisQueueBackend {
    if ((prefix ?? '') !== '' && prefix !== this.#parts.prefix)
      throw refusal('queue', 'FlowProducer', OTHER_PREFIX);
    return guardBackend(this.#queue(queue), this.#parts.of(queue), this.#parts.owner);
  }

  /** All jobs are signed before the first is stored, and all are stored in one transaction. */
  override async addFlow(given: readonly FlowJobEntry[]): Promise<[Error | null, string | number][]> {
    const tenant = tenantOf(requireScope({ surface: 'queue', operation: 'addFlow' }));
    const silo = this.#silos?.at(tenant.tenant, 'addFlow');
    if (silo !== undefined) return silo.addFlow(given);
    const entries = toList(given, 'addFlow').map((entry) => this.#signed(tenant, entry as FlowJobEntry));
    const [first] = entries;
    if (first === undefined) throw refusal('queue', 'addFlow', NOTHING);
    const queues = [...new Set(entries.map(({ context }) => context.queue))].map((name) => this.#queue(name));
    await Promise.all(queues.map((queue) => queue.registered(tenant.tenant)));
    const guard: Guard = {
      store: this.#queue(first.context.queue),
      context: first.context,
      owner: this,
      sealed: true,
    };
    const since = await admitted(guard, tenant, 'addFlow');
    const lane = guard.store.lane(tenant.tenant);
    const answers = await insert(lane, entries);
    for (const queue of queues) queue.touch(tenant.tenant);
    for (const [at, { link }] of entries.entries())
      if (typeof answers[at] === 'string') guard.store.touchParent(link?.parentKey);
    await stillAdmitted(guard, tenant, 'addFlow', since, async () => {
      for (const { context, jobId } of entries)
        await this.#queue(context.queue).lane(tenant.tenant).remove(jobId, false);
    });
    return answers.map((answer, at): [null, string] => {
      const { context, link, jobId } = entries[at] ?? first;
      if (typeof answer === 'string') return [null, this.#logical(context, tenant, answer)];
      const parentKey = link?.parentKey;
      throw this.#queue(context.queue)
        .lane(tenant.tenant)
        .finishedErrors({
          code: answer,
          jobId,
          ...(parentKey === undefined ? {} : { parentKey }),
          command: 'addJob',
        });
    });
  }

  /** An operator reads keys as they are stored: the lane of a key says its queue. */
  override parseNodeKey(key: string): ReturnType<RedisQueueBackend['parseNodeKey']> {
    const { queueName, ...rest } = super.parseNodeKey(key);
    return { ...rest, queueName: queueName.split('~')[0] ?? '' };
  }

  override async close(force = false): Promise<void> {
    if (!force) await Promise.all([...this.#queues.values()].map((queue) => queue.flush()));
    await Promise.all((this.#silos?.stores ?? []).map((silo) => silo.close(force)));
    return super.close(force);
  }

  override async disconnect(): Promise<void> {
    await Promise.all((this.#silos?.stores ?? []).map((silo) => silo.disconnect()));
    return super.disconnect();
  }

  #signed(
    tenant: TenantContext,
    { jobData, jobId, parentKeyOpts, prefix, queueName }: FlowJobEntry,
  ): Insertion {
    if (prefix !== this.#parts.prefix) throw refusal('queue', 'FlowProducer', OTHER_PREFIX);
    const context = this.#parts.of(queueName);
    const isParent = parentKeyOpts?.addToWaitingChildren === true;
    const entry = sign(context, tenant, { job: jobData, jobId, parentKeyOpts }, true);
    return { ...entry, context, tenant: tenant.tenant, isParent };
  }

  #logical({ names }: StoreContext, { tenant }: TenantContext, id: string): string {
    return names.decode(tenant, id);
  }

  #queue(name: string): OperatedStore {
    const known = this.#queues.get(name);
    if (known !== undefined) return known;
    const [oldest] = this.#queues.keys();
    if (oldest !== undefined && this.#queues.size >= REMEMBERED) this.#queues.delete(oldest);
    const { of, options, pool } = this.#parts;
    const store = new OperatedStore({
      context: of(name),
      options,
      blocking: undefined,
      shared: this.connection,
      elsewhere: (tenant, operation) => {
        const silo = this.#silos?.at(tenant, operation);
        return silo === undefined ? undefined : silo.#queue(name);
      },
      ...(pool === undefined ? {} : { pool: pool.#queue(name) }),
    });
    store.on('error', (error) => this.emit('error', error));
    this.#queues.set(name, store);
    return store;
  }
}

function tenantOf(scope: Scope): TenantContext {
  if (scope.tenant === undefined) throw refusal('queue', 'FlowProducer.add', NO_TENANT_TO_SIGN);
  return scope.tenant;
}

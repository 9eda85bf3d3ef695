import { QueueEventsProducer as RawProducer } from 'bullmq';
import { finish, guardMembers, wire, type Wiring } from '../client.ts';
import { producerRules } from '../rules.ts';
import { checkProducerOptions, type QueueEventsProducerOptions } from './options.ts';

const wirings = new WeakMap<object, Wiring>();

/**
 * BullMQ's QueueEventsProducer: publishes events of the application's own, for the listeners of the same tenant.
 *
 * @throws {@link ConfigError} when the options are not usable
 *
 * @example
 * ```ts
 * import { withTenant } from '@tenantkit/core';
 * import { QueueEventsProducer } from '@tenantkit/queue';
 * const producer = new QueueEventsProducer('mail', { connection: { host: 'localhost' }, tenant: { signingKeys } });
 * await withTenant('acme', () => producer.publishEvent({ eventName: 'bounced', address: 'ada@example.com' }));
 * ```
 */
export class QueueEventsProducer extends RawProducer {
  static {
    guardMembers(this.prototype, RawProducer.prototype, {
      rules: producerRules,
      caller: 'queueEventsProducer',
      owner: (self) => wirings.get(self)?.owner,
    });
  }

  /**
   * @param name - the queue's name, shared by all tenants
   * @param options - BullMQ's own, and `tenant`
   */
  constructor(name: string, options: QueueEventsProducerOptions) {
    const { raw, tenant } = checkProducerOptions(options);
    const wiring = wire(name, tenant, raw.prefix);
    super(name, raw, wiring.factory);
    wirings.set(this, wiring);
    finish(this, wiring);
  }
}

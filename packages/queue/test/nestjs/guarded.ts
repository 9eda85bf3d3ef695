import { ModulesContainer } from '@nestjs/core';
import type { INestApplicationContext } from '@nestjs/common';
import { FlowProducer as RawFlowProducer, Queue as RawQueue } from 'bullmq';
import { FlowProducer, Queue } from '@tenantkit/queue';

/** To be called before the application listens: a queue that was registered before `queues.ts` was loaded has no tenants. */
export function assertGuarded(app: INestApplicationContext): void {
  for (const { providers } of app.get(ModulesContainer).values())
    for (const { instance } of providers.values()) {
      const isRaw =
        (instance instanceof RawQueue && !(instance instanceof Queue)) ||
        (instance instanceof RawFlowProducer && !(instance instanceof FlowProducer));
      if (isRaw) throw new Error('A queue is one of BullMQ itself: import queues.ts before everything else.');
    }
}

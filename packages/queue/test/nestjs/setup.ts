import { BullModule, type BullRootModuleOptions, type RegisterQueueOptions } from '@nestjs/bullmq';
import {
  FlowProducer,
  Queue,
  Worker,
  type FlowProducerOptions,
  type Processor,
  type QueueOptions,
  type WorkerOptions,
} from '@tenantkit/queue';
import { KEY } from '../support.ts';

const signingKeys = [KEY];

// oxlint-disable no-unused-vars, typescript/no-extraneous-class -- taken out of the rest; a module of Nest is a class
// The README shows what follows, and the test compares them.
const tenant = { signingKeys };

class NestQueue extends Queue {
  // Nest's own options are taken out: an option that BullMQ does not have is refused.
  constructor(queue: string, options: QueueOptions & RegisterQueueOptions & BullRootModuleOptions) {
    const { name, configKey, processors, sharedConnection, forceDisconnectOnShutdown, extraOptions, ...own } =
      options;
    super(queue, { ...own, tenant });
  }
}

class NestWorker extends Worker {
  constructor(
    queue: string,
    processor: Processor | string | URL,
    options: WorkerOptions & { sharedConnection?: boolean },
  ) {
    const { sharedConnection, ...own } = options;
    super(queue, processor, { ...own, tenant });
  }
}

class NestFlowProducer extends FlowProducer {
  // What `forRoot` says of queues is given to it as well.
  constructor(options: FlowProducerOptions & RegisterQueueOptions & BullRootModuleOptions) {
    const { name, configKey, forceDisconnectOnShutdown, extraOptions, ...given } = options;
    const { defaultJobOptions, settings, streams, skipMetasUpdate, ...own } = given;
    super({ ...own, tenant });
  }
}

BullModule.queueClass = NestQueue;
BullModule.workerClass = NestWorker;
BullModule.flowProducerClass = NestFlowProducer;

import 'reflect-metadata';
import { readFile } from 'node:fs/promises';
import {
  BullModule,
  InjectQueue,
  OnWorkerEvent,
  Processor,
  WorkerHost,
  getFlowProducerToken,
  getQueueToken,
} from '@nestjs/bullmq';
import { Injectable, Module, type INestApplicationContext } from '@nestjs/common';
import { NestFactory } from '@nestjs/core';
import { currentTenant, withTenant } from '@tenantkit/core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import * as bullmq from 'bullmq';
import { FlowProducer, Queue, Worker, type Job } from '@tenantkit/queue';
import './nestjs/setup.ts';
import { assertGuarded } from './nestjs/guarded.ts';
import { execArgv, processorFile, times } from './processes.ts';
import { bench, finished, type Bench } from './support.ts';

let on: Bench;
let app: INestApplicationContext | undefined;
beforeAll(async () => {
  on = await bench();
});
afterEach(async () => {
  await app?.close();
  app = undefined;
  await on.reset();
});
afterAll(() => on[Symbol.asyncDispose]());

/** What TypeScript makes of decorators: Node does not run them as they are written. */
const decorate = (target: object, key: string | undefined, ...decorators: unknown[]): void => {
  if (key === undefined) Reflect.decorate(decorators as ClassDecorator[], target as typeof MailProcessor);
  else
    Reflect.decorate(
      decorators as MethodDecorator[],
      target,
      key,
      Object.getOwnPropertyDescriptor(target, key),
    );
};

const heard: unknown[] = [];
let ended = Promise.withResolvers<void>();

/** @Processor('mail', { concurrency: 4 }) */
class MailProcessor extends WorkerHost {
  async process(job: Job<{ to: string }>): Promise<unknown> {
    await job.updateProgress(50);
    return { sent: job.data.to, by: currentTenant()?.tenant };
  }

  /** @OnWorkerEvent('completed') */
  onCompleted(job: Job, result: unknown): void {
    heard.push([currentTenant(), job.id, result]);
    if (heard.length === 2) ended.resolve();
  }
}
decorate(MailProcessor.prototype, 'onCompleted', OnWorkerEvent('completed'));
decorate(MailProcessor, undefined, Processor('mail', { concurrency: 4 }));

/** @Injectable() */
class MailService {
  readonly queue: Queue;

  /** @param queue - @InjectQueue('mail') */
  constructor(queue: Queue) {
    this.queue = queue;
  }

  send(to: string): Promise<Job> {
    return this.queue.add('welcome', { to }, { jobId: 'one' });
  }
}
InjectQueue('mail')(MailService, undefined, 0);
decorate(MailService, undefined, Injectable());

async function start(queue: object, ...providers: object[]): Promise<INestApplicationContext> {
  const imports = [
    BullModule.forRoot({ connection: on.redis }),
    BullModule.registerQueue({ name: 'mail', ...queue }),
  ];
  class AppModule {
    readonly name = 'app';
  }
  decorate(AppModule, undefined, Module({ imports, providers: providers as [] }));
  app = await NestFactory.createApplicationContext(AppModule, { logger: false, abortOnError: false });
  return app;
}

describe('@nestjs/bullmq', () => {
  it('runs each job in its tenant, and its listeners too', async () => {
    heard.length = 0;
    ended = Promise.withResolvers();
    const context = await start({}, MailProcessor, MailService);
    const service = context.get(MailService);
    expect(service.queue).toBeInstanceOf(Queue);
    expect(context.get(MailProcessor).worker).toBeInstanceOf(Worker);
    await expect(service.send('nobody@example.com')).rejects.toMatchObject({ code: 'TENANT_MISSING' });
    await withTenant('acme', () => service.send('ada@example.com'));
    await withTenant('globex', () => service.send('grace@example.com'));
    await ended.promise;
    expect(heard).toHaveLength(2);
    expect(heard).toEqual(
      expect.arrayContaining([
        [{ tenant: 'acme' }, 'one', { sent: 'ada@example.com', by: 'acme' }],
        [{ tenant: 'globex' }, 'one', { sent: 'grace@example.com', by: 'globex' }],
      ]),
    );
    expect(await withTenant('acme', () => service.queue.getJob('one'))).toMatchObject({ progress: 50 });
  });

  it('runs no job that raw BullMQ has added to a tenant’s lane', async () => {
    const context = await start({}, MailProcessor, MailService);
    const failed = new Promise((resolve) => {
      context.get(MailProcessor).worker.on('failed', (_job, error) => resolve(error));
    });
    await on.raw('mail~acme').add('welcome', { to: 'forged@example.com' });
    // A genuine one behind it: what is noted is the lane.
    await withTenant('acme', () => context.get(MailService).send('ada@example.com'));
    expect(await failed).toMatchObject({ code: 'SIGNATURE_INVALID', reason: 'missing' });
  });

  it('runs files that a queue is registered with', async () => {
    const path = processorFile('probe.mjs');
    const context = await start({ processors: [{ path, workerForkOptions: { execArgv } }] });
    const queue = context.get<Queue>(getQueueToken('mail'));
    const { id = '' } = await withTenant('acme', () => queue.add('tenant', {}));
    const result = async (): Promise<unknown> => (await queue.getJob(id))?.returnvalue as unknown;
    await expect
      .poll(() => withTenant('acme', result))
      .toMatchObject({ seen: times(5, { tenant: 'acme' }), atLoad: 'none' });
  });

  it('closes the workers and queues with the application', async () => {
    const context = await start({}, MailProcessor);
    const { worker } = context.get(MailProcessor);
    const queue = context.get<Queue>(getQueueToken('mail'));
    await context.close();
    app = undefined;
    expect(worker.closing).toBeDefined();
    expect(queue.closing).toBeDefined();
  });

  it('adds flows with the producer that is registered', async () => {
    class FlowModule {
      readonly name = 'flow';
    }
    const imports = [
      BullModule.forRoot({ connection: on.redis }),
      // Else it would end the connection that is everybody's.
      BullModule.registerFlowProducer({ name: 'flows', forceDisconnectOnShutdown: false }),
    ];
    decorate(FlowModule, undefined, Module({ imports }));
    app = await NestFactory.createApplicationContext(FlowModule, { logger: false, abortOnError: false });
    const flows = app.get<FlowProducer>(getFlowProducerToken('flows'));
    expect(flows).toBeInstanceOf(FlowProducer);
    const worker = on.worker('reports', (job) => job.getChildrenValues());
    const done = finished(worker, 1);
    on.worker('mail', async () => currentTenant()?.tenant);
    await withTenant('acme', () =>
      flows.add({
        name: 'report',
        queueName: 'reports',
        children: [{ name: 'n', queueName: 'mail', opts: { jobId: 'c' } }],
      }),
    );
    expect(await done).toMatchObject([{ event: 'completed', result: { 'bull:mail:c': 'acme' } }]);
  });

  it('starts with what forRoot says of queues, which Nest gives to flow producers as well', async () => {
    class RootModule {
      readonly name = 'root';
    }
    const useFactory = () => ({
      connection: on.redis,
      defaultJobOptions: { attempts: 2 },
      streams: { events: { maxLen: 10 } },
      extraOptions: { manualRegistration: false },
    });
    const imports = [
      BullModule.forRootAsync({ useFactory }),
      BullModule.registerQueue({ name: 'mail' }),
      BullModule.registerFlowProducer({ name: 'flows', forceDisconnectOnShutdown: false }),
    ];
    decorate(RootModule, undefined, Module({ imports }));
    app = await NestFactory.createApplicationContext(RootModule, { logger: false, abortOnError: false });
    assertGuarded(app);
    const queue = app.get<Queue>(getQueueToken('mail'));
    expect((await withTenant('acme', () => queue.add('a', {}))).opts.attempts).toBe(2);
    expect(app.get(getFlowProducerToken('flows'))).toBeInstanceOf(FlowProducer);
  });

  it.each(['queueClass', 'flowProducerClass'] as const)(
    'a module that was loaded before the set-up of %s is found by the check of the page',
    async (what) => {
      const ours = BullModule[what];
      class EarlyModule {
        readonly name = 'early';
      }
      const connection = { url: on.url };
      BullModule[what] = (what === 'queueClass' ? bullmq.Queue : bullmq.FlowProducer) as never;
      const imports = [
        BullModule.forRoot({ connection }),
        what === 'queueClass'
          ? BullModule.registerQueue({ name: 'mail' })
          : BullModule.registerFlowProducer({ name: 'flows' }),
      ];
      BullModule[what] = ours as never;
      decorate(EarlyModule, undefined, Module({ imports }));
      app = await NestFactory.createApplicationContext(EarlyModule, { logger: false, abortOnError: false });
      expect(() => assertGuarded(app as INestApplicationContext)).toThrow(
        /import queues\.ts before everything/,
      );
    },
  );

  it('is set up by the lines of its page', async () => {
    const lines = await readFile(new URL('nestjs/setup.ts', import.meta.url), 'utf8');
    const page = await readFile(new URL('../docs/frameworks.md', import.meta.url), 'utf8');
    const [, shown = ''] = lines.split('compares them.\n');
    expect(shown).toContain('BullModule.queueClass');
    expect(page).toContain(shown.trim());
    const check = await readFile(new URL('nestjs/guarded.ts', import.meta.url), 'utf8');
    expect(page).toContain(check.trim());
  });
});

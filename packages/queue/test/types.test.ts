import type * as bullmq from 'bullmq';
import { describe, expectTypeOf, it } from 'vitest';
import type * as ours from '@tenantkit/queue';

// The types of this package beside BullMQ's: nothing here runs, the compiler decides.

interface Mail {
  readonly to: string;
}
type Names = 'welcome' | 'bill';
type ArgumentsOf<F> = F extends (...args: infer A) => unknown ? A : never;

type RawQueue = bullmq.Queue<Mail, number, Names>;
type OwnQueue = ours.Queue<Mail, number, Names>;
type RawWorker = bullmq.Worker<Mail, number, Names>;
type OwnWorker = ours.Worker<Mail, number, Names>;
type RawJob = bullmq.Job<Mail, number, Names>;
type OwnJob = ours.Job<Mail, number, Names>;

/** What a listener of an event gets. */
type Heard<W, E extends string> = W extends { on(event: E, listener: infer L): unknown }
  ? ArgumentsOf<L>
  : never;

describe('Queue<Data, Result, Name>', () => {
  it('takes and answers what BullMQ’s does', () => {
    expectTypeOf<OwnQueue>().toExtend<RawQueue>();
    expectTypeOf<ArgumentsOf<OwnQueue['add']>>().toEqualTypeOf<ArgumentsOf<RawQueue['add']>>();
    expectTypeOf<ArgumentsOf<OwnQueue['addBulk']>>().toEqualTypeOf<ArgumentsOf<RawQueue['addBulk']>>();
    expectTypeOf<ArgumentsOf<OwnQueue['upsertJobScheduler']>>().toEqualTypeOf<
      ArgumentsOf<RawQueue['upsertJobScheduler']>
    >();
    expectTypeOf<ArgumentsOf<OwnQueue['add']>[0]>().toEqualTypeOf<Names>();
    expectTypeOf<ArgumentsOf<OwnQueue['add']>[1]>().toEqualTypeOf<Mail>();
    expectTypeOf<ReturnType<OwnQueue['add']>>().toEqualTypeOf<Promise<RawJob>>();
    expectTypeOf<ReturnType<OwnQueue['getJob']>>().toEqualTypeOf<ReturnType<RawQueue['getJob']>>();
    expectTypeOf<Awaited<ReturnType<OwnQueue['getJobs']>>[number]['returnvalue']>().toEqualTypeOf<number>();
    expectTypeOf<Awaited<ReturnType<OwnQueue['getWaiting']>>[number]['name']>().toEqualTypeOf<Names>();
  });

  it('without type arguments is as loose, and a name is any text', () => {
    expectTypeOf<ArgumentsOf<ours.Queue['add']>>().toEqualTypeOf<ArgumentsOf<bullmq.Queue['add']>>();
    expectTypeOf<ours.Queue>().toExtend<bullmq.Queue>();
    expectTypeOf<OwnQueue>().toExtend<ours.Queue>();
  });

  it('takes a Job in the place of the data, and what stands behind it', () => {
    type RawOfJob = bullmq.Queue<RawJob>;
    type OwnOfJob = ours.Queue<RawJob>;
    expectTypeOf<ArgumentsOf<OwnOfJob['add']>>().toEqualTypeOf<ArgumentsOf<RawOfJob['add']>>();
    expectTypeOf<ArgumentsOf<OwnOfJob['add']>[1]>().toEqualTypeOf<Mail>();
    expectTypeOf<ArgumentsOf<ours.Queue<OwnJob>['add']>[0]>().toEqualTypeOf<Names>();
    expectTypeOf<ReturnType<OwnOfJob['add']>>().toEqualTypeOf<ReturnType<RawOfJob['add']>>();
    type Given<Q extends { add: unknown }> = ArgumentsOf<Q['add']>;
    expectTypeOf<Given<ours.Queue<unknown, unknown, string, Mail, number, Names>>>().toEqualTypeOf<
      Given<bullmq.Queue<unknown, unknown, string, Mail, number, Names>>
    >();
  });

  it('refuses another name, other data, and an unknown option of ours', () => {
    // @ts-expect-error -- no such name
    void ((queue: OwnQueue) => queue.add('other', { to: 'x' }));
    // @ts-expect-error -- no such data
    void ((queue: OwnQueue) => queue.add('bill', { to: 1 }));
    // @ts-expect-error -- a Queue has no default limits
    void ((options: ours.QueueOptions): number | undefined => options.tenant.concurrency);
    expectTypeOf<ours.WorkerOptions['tenant']['concurrency']>().toEqualTypeOf<number | undefined>();
  });
});

describe('Worker<Data, Result, Name>', () => {
  it('has the type arguments of BullMQ’s, in their order', () => {
    expectTypeOf<OwnWorker>().toExtend<RawWorker>();
    expectTypeOf<ours.Worker<Mail, number, Names, bullmq.RedisQueueBackend, { done: number }>>().toExtend<
      bullmq.Worker<Mail, number, Names, bullmq.RedisQueueBackend, { done: number }>
    >();
    expectTypeOf<ours.Worker>().toExtend<bullmq.Worker>();
  });

  it('takes the processors that BullMQ’s takes', () => {
    type Given = ConstructorParameters<typeof ours.Worker<Mail, number, Names>>[1];
    expectTypeOf<bullmq.Processor<Mail, number, Names>>().toExtend<Given>();
    expectTypeOf<ours.Processor<Mail, number, Names>>().toEqualTypeOf<
      bullmq.Processor<Mail, number, Names>
    >();
    expectTypeOf<(job: OwnJob) => Promise<number>>().toExtend<Given>();
    expectTypeOf<(job: RawJob) => Promise<number>>().toExtend<Given>();
    expectTypeOf<() => Promise<number>>().toExtend<Given>();
    expectTypeOf<string>().toExtend<Given>();
    expectTypeOf<URL>().toExtend<Given>();
    expectTypeOf<(job: RawJob) => Promise<string>>().not.toExtend<Given>();
    expectTypeOf<
      (job: bullmq.Job<{ from: string }, number, Names>) => Promise<number>
    >().not.toExtend<Given>();
  });

  it('gives its listeners the same', () => {
    expectTypeOf<Heard<OwnWorker, 'completed'>>().toEqualTypeOf<Heard<RawWorker, 'completed'>>();
    expectTypeOf<Heard<OwnWorker, 'failed'>>().toEqualTypeOf<Heard<RawWorker, 'failed'>>();
    expectTypeOf<Heard<OwnWorker, 'progress'>>().toEqualTypeOf<Heard<RawWorker, 'progress'>>();
    expectTypeOf<ArgumentsOf<OwnWorker['on']>>().toEqualTypeOf<ArgumentsOf<RawWorker['on']>>();
    expectTypeOf<ArgumentsOf<OwnQueue['on']>>().toEqualTypeOf<ArgumentsOf<RawQueue['on']>>();
  });
});

describe('Job<Data, Result, Name, Progress>', () => {
  it('is one of BullMQ’s, and BullMQ’s is one of ours', () => {
    expectTypeOf<OwnJob>().toExtend<RawJob>();
    expectTypeOf<RawJob>().toExtend<OwnJob>();
    expectTypeOf<OwnJob['data']>().toEqualTypeOf<Mail>();
    expectTypeOf<OwnJob['returnvalue']>().toEqualTypeOf<number>();
    expectTypeOf<OwnJob['name']>().toEqualTypeOf<Names>();
    expectTypeOf<ours.Job<Mail, number, Names, { done: number }>['progress']>().toEqualTypeOf<
      bullmq.Job<Mail, number, Names, { done: number }>['progress']
    >();
    expectTypeOf<ours.JobsOptions>().toEqualTypeOf<bullmq.JobsOptions>();
    expectTypeOf<ours.SandboxedJob<Mail, number>>().toEqualTypeOf<bullmq.SandboxedJob<Mail, number>>();
  });
});

describe('what stands in a public signature', () => {
  it('has its name here as in BullMQ', () => {
    expectTypeOf<ArgumentsOf<OwnQueue['upsertJobScheduler']>[1]>().toEqualTypeOf<
      Omit<ours.RepeatOptions, 'key'>
    >();
    expectTypeOf<ours.JobsOptions['deduplication']>().toEqualTypeOf<ours.DeduplicationOptions | undefined>();
    expectTypeOf<Awaited<ReturnType<OwnQueue['getMetrics']>>>().toEqualTypeOf<ours.Metrics>();
    expectTypeOf<ArgumentsOf<OwnJob['retry']>[1]>().toEqualTypeOf<ours.RetryOptions | undefined>();
    expectTypeOf<ArgumentsOf<OwnJob['moveToWaitingChildren']>[1]>().toEqualTypeOf<
      ours.MoveToWaitingChildrenOpts | undefined
    >();
    expectTypeOf<ArgumentsOf<OwnJob['getDependencies']>[0]>().toEqualTypeOf<
      ours.DependenciesOpts | undefined
    >();
    expectTypeOf<ours.WorkerOptions['settings']>().toEqualTypeOf<ours.AdvancedOptions | undefined>();
    expectTypeOf<ours.Telemetry['tracer']>().toEqualTypeOf<ours.Tracer>();
    expectTypeOf<ours.Telemetry['contextManager']>().toEqualTypeOf<ours.ContextManager>();
    expectTypeOf<ReturnType<ours.Tracer['startSpan']>>().toEqualTypeOf<ours.Span>();
    expectTypeOf<ours.JobSchedulerTemplateOptions>().toEqualTypeOf<bullmq.JobSchedulerTemplateOptions>();
    expectTypeOf<ours.FlowJob>().toExtend<ours.FlowJobBase<ours.JobsOptions>>();
    expectTypeOf<Awaited<ReturnType<OwnQueue['getMeta']>>>().toEqualTypeOf<ours.QueueMeta>();
    expectTypeOf<ours.RedisOptions>().toExtend<ours.ConnectionOptions>();
  });
});

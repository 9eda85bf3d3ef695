import { ConfigError, OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import {
  checkFlowOptions,
  checkQueueOptions,
  checkWorkerOptions,
  flowOptionRules,
  queueOptionRules,
  workerOptionRules,
} from '../src/client-options.ts';

type Check = (given: object) => { readonly raw: object; readonly tenant: unknown };
const ofFlows = checkFlowOptions as Check;
const ofQueue = checkQueueOptions as Check;
const ofWorker = checkWorkerOptions as Check;

function errorOf(call: () => unknown): ConfigError | OperationRefusedError {
  try {
    call();
  } catch (error) {
    if (error instanceof ConfigError || error instanceof OperationRefusedError) return error;
    throw error;
  }
  throw new Error('it was accepted');
}

describe.each([
  { of: 'Queue', check: ofQueue, rules: queueOptionRules },
  { of: 'Worker', check: ofWorker, rules: workerOptionRules },
  { of: 'FlowProducer', check: ofFlows, rules: flowOptionRules },
])('options of a $of', ({ check, rules }) => {
  const passed = Object.entries<{ readonly kind: string }>(rules).filter(([, { kind }]) => kind === 'pass');

  it.each(passed)('%s goes through', (name) => {
    const value = { some: ['value'] };
    expect(check({ [name]: value })).toEqual({ raw: { [name]: value }, tenant: undefined });
    // Left out, and not there as undefined, which BullMQ would take in the place of its default.
    expect(Object.keys(check({ [name]: undefined }).raw)).toEqual([]);
  });

  it('are copied, and nobody can change the copy; what lives is not', () => {
    const streams = { events: { maxLen: 1 }, list: [{ n: 1 }] };
    const { raw } = check({ prefix: streams }) as { raw: { prefix: typeof streams } };
    expect(raw.prefix).toEqual(streams);
    expect(raw.prefix).not.toBe(streams);
    for (const part of [raw.prefix, raw.prefix.events, raw.prefix.list, raw.prefix.list[0]])
      expect(Object.isFrozen(part)).toBe(true);
    expect(Object.isFrozen(streams)).toBe(false);
    expect(Array.isArray(raw.prefix.list)).toBe(true);
    for (const name of ['connection', 'blockingConnection', 'telemetry']) {
      const living = {};
      expect(Reflect.get(check({ [name]: living }).raw, name)).toBe(living);
      expect(Object.isFrozen(living)).toBe(false);
    }
    expect(check({ prefix: null }).raw).toEqual({ prefix: null });
  });

  it('keep those of ours apart', () => {
    const tenant = { signingKeys: [] };
    const checked = check({ tenant, prefix: 'p' });
    expect(checked.tenant).toBe(tenant);
    expect(checked.raw).toEqual({ prefix: 'p' });
  });

  it('that nobody has decided about are refused', () => {
    for (const name of ['runAs', 'constructor', '__proto__', 'toString', '']) {
      const given: unknown = JSON.parse(`{${JSON.stringify(name)}:{}}`);
      const error = errorOf(() => check(given as object));
      expect(error).toBeInstanceOf(ConfigError);
      expect(error.message).toBe(
        `Invalid configuration of queue.options: unknown option ${name}. Remove it, or put it under \`tenant\` if it is one of tenantkit; see the README of @tenantkit/queue.`,
      );
      expect(errorOf(() => check({ [name]: undefined, runAs: undefined }))).toBeInstanceOf(ConfigError);
    }
  });
});

describe('options of a Queue', () => {
  it('defaultJobOptions are checked as those of a job', () => {
    expect(ofQueue({ defaultJobOptions: { attempts: 3 } }).raw).toEqual({
      defaultJobOptions: { attempts: 3 },
    });
    expect(ofQueue({ defaultJobOptions: null }).raw).toEqual({ defaultJobOptions: {} });
    const error = errorOf(() => ofQueue({ defaultJobOptions: { repeat: {} } }));
    expect(error.operation).toBe('defaultJobOptions(options)');
    expect(error).toBeInstanceOf(OperationRefusedError);
  });

  it('settings are refused', () => {
    const error = errorOf(() => ofQueue({ settings: {} }));
    expect(error.message).toBe(
      'queue.options.settings is refused: a repeat strategy is no part of what a scheduler’s header binds. Leave it out: a scheduler has pattern or every.',
    );
  });
});

describe('options of a Worker', () => {
  it.each(['removeOnComplete', 'removeOnFail'])('%s is an age, a count, or both', (name) => {
    for (const good of [
      { count: 0 },
      { count: -1 },
      { count: 5 },
      { age: 0 },
      { age: 1.5, limit: 1 },
      { age: 1, count: 5, limit: 10_000 },
    ])
      expect(ofWorker({ [name]: good }).raw).toEqual({ [name]: good });
    for (const bad of [
      true,
      7,
      null,
      {},
      { count: -2 },
      { count: 1.5 },
      { count: 5, limit: 1 },
      { age: 1, limit: 10_001 },
      { age: -1 },
      { age: '1' },
      { age: 1, limit: 0 },
      { age: 1, limit: 1.5 },
      { age: 1, more: 1 },
    ]) {
      expect(errorOf(() => ofWorker({ [name]: bad })).message).toBe(
        `queue.options.${name} is refused: it says otherwise than by age or count which finished jobs of each tenant are kept. Use { count } or { age, count, limit }, with age in seconds and a limit of at most 10000.`,
      );
    }
  });

  it('settings have a backoffStrategy alone', () => {
    const backoffStrategy = (): number => 1;
    expect(ofWorker({ settings: { backoffStrategy } }).raw).toEqual({ settings: { backoffStrategy } });
    expect(ofWorker({ settings: {} }).raw).toEqual({ settings: {} });
    for (const bad of [null, 7, { backoffStrategy: 'fixed' }, { repeatStrategy: () => 1 }])
      expect(errorOf(() => ofWorker({ settings: bad })).message).toBe(
        'queue.options.settings is refused: only backoffStrategy is known to run in the tenant of the job. Leave out what belongs to schedulers.',
      );
  });

  it('of a sandbox are BullMQ’s own', () => {
    const options = { useWorkerThreads: true, workerForkOptions: { silent: true }, workerThreadsOptions: {} };
    const { raw } = ofWorker(options);
    expect(raw).toEqual(options);
    // They may hold what lives, streams and signals: not copied, and not frozen.
    for (const name of ['workerForkOptions', 'workerThreadsOptions'] as const)
      expect(Reflect.get(raw, name)).toBe(options[name]);
  });
});

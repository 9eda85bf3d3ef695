import { AsyncLocalStorage } from 'node:async_hooks';
import { currentTenant, requireScope, withTenant } from '@tenantkit/core';
import { Bench } from 'tinybench';

// One sample is a thousand calls: a single one is shorter than the clock's own cost.
const CALLS = 1_000;
const WHERE = { surface: 'core', operation: 'bench' } as const;
const plain = new AsyncLocalStorage<string>();
const nothing = (): void => undefined;
const thousand = (call: () => unknown) => (): void => {
  for (let i = 0; i < CALLS; i += 1) call();
};

const bench = new Bench({ time: 1_000, warmupTime: 200 });
bench.add(
  'AsyncLocalStorage.run, nothing else',
  thousand(() => plain.run('acme', nothing)),
);
bench.add(
  'withTenant(id)',
  thousand(() => withTenant('acme', nothing)),
);
bench.add(
  'withTenant({ tenant, subject, actor })',
  thousand(() => withTenant({ tenant: 'acme', subject: 'p', actor: 'x' }, nothing)),
);
bench.add('currentTenant inside', () => withTenant('acme', thousand(currentTenant)));
bench.add('requireScope inside', () =>
  withTenant(
    'acme',
    thousand(() => requireScope(WHERE)),
  ),
);
await bench.run();

console.table(
  bench.tasks.map(({ name, result }) => ({
    call: name,
    'median ns per call': 'latency' in result ? Math.round((result.latency.p50 * 1e6) / CALLS) : Number.NaN,
    'p99 ns per call': 'latency' in result ? Math.round((result.latency.p99 * 1e6) / CALLS) : Number.NaN,
  })),
);

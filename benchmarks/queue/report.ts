import type { Table } from '../cache/report.ts';
import { settingOf } from '../setting.ts';
import { interval, median } from '../statistics.ts';
import { BOTH, type Step } from './alone.ts';
import type { Kind } from './rows.ts';
import type { Measured } from './threads.ts';
import type { Sample } from './worker.ts';

/** The targets: throughput beside BullMQ, and what the header of a job of 1 KiB may take, in µs. */
const RATIO = 0.95;
const MICROSECONDS = 15;

/** Throughput as a ratio, round by round, and what a job costs. */
export function throughput(measured: readonly Measured[]): Table {
  return measured.map(({ row, samples }) => {
    const all = ratios(samples);
    const { low, high } = interval(all);
    return {
      Jobs: row.name,
      'bullmq, jobs/s': perSecond(samples.bullmq),
      'tenantkit, jobs/s': perSecond(samples.tenantkit),
      'tenantkit / bullmq': `${median(all).toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`,
      'CPU µs per job': each(samples, 'cpu'),
      'of the server': each(samples, 'server'),
    };
  });
}

/** What signing and verifying take. */
export function steps(taken: readonly Step[]): Table {
  return taken.map(({ name, micros, low, high }) => ({
    Alone: name,
    'CPU µs': `${micros.toFixed(1)} (${low.toFixed(1)}–${high.toFixed(1)})`,
  }));
}

/** What misses its target beyond the interval. */
export function missed(measured: readonly Measured[], taken: readonly Step[]): string[] {
  return [
    ...measured
      .filter(({ samples }) => interval(ratios(samples)).high < RATIO)
      .map(({ row, samples }) => `${row.name}: ${median(ratios(samples)).toFixed(3)}, not ${RATIO}`),
    ...taken
      .filter(({ name, low }) => name === BOTH && low > MICROSECONDS)
      .map(({ name, micros }) => `${name}: ${micros.toFixed(1)} µs, not ${MICROSECONDS}`),
  ];
}

/** On what it ran. */
export function setting(server: string): Promise<string> {
  const manifest = new URL('../../package.json', import.meta.resolve('bullmq'));
  return settingOf({ name: 'BullMQ', manifest }, `Redis ${server}`);
}

function perSecond(samples: readonly Sample[]): string {
  return Math.round(1e6 / median(samples.map(({ wall }) => wall))).toLocaleString('en');
}

function each(samples: Readonly<Record<Kind, readonly Sample[]>>, what: 'cpu' | 'server'): string {
  return [samples.bullmq, samples.tenantkit]
    .map((some) => median(some.map((sample) => sample[what])).toFixed(0))
    .join(' / ');
}

// Of the two samples of each round: what slows the machine down for a while slows both.
function ratios({ bullmq, tenantkit }: Readonly<Record<Kind, readonly Sample[]>>): readonly number[] {
  return tenantkit.map(({ wall }, round) => (bullmq[round]?.wall ?? NaN) / wall);
}

import { settingOf } from '../setting.ts';
import { interval, median } from '../statistics.ts';
import { KINDS, type Kind } from './rows.ts';
import type { Tenants } from './tenants.ts';
import type { Measured } from './threads.ts';
import type { Sample } from './worker.ts';

/** A table, as console.table takes it and as Markdown. */
export type Table = readonly Readonly<Record<string, string>>[];

/** Throughput as a ratio, round by round, and what a call costs. */
export function throughput(measured: readonly Measured[]): Table {
  return measured.map(({ row, samples, bytes }) => ({
    Call: row.name,
    'ioredis, calls/s': Math.round(1e6 / median(samples.ioredis.map(({ wall }) => wall))).toLocaleString(
      'en',
    ),
    'keyPrefix / ioredis': ratio(samples, 'keyPrefix', 'ioredis'),
    'tenantkit / ioredis': ratio(samples, 'tenantkit', 'ioredis'),
    'tenantkit / keyPrefix': ratio(samples, 'tenantkit', 'keyPrefix'),
    'CPU µs per call': each((kind) => median(samples[kind].map(({ cpu }) => cpu)).toFixed(2)),
    'bytes per call': each((kind) => bytes[kind].toFixed(0)),
  }));
}

/** What many tenants cost. */
export function tenants(measured: readonly Tenants[]): Table {
  return measured.map(({ name, connections, ready, memory, server, wall, cpu }) => ({
    'A hundred tenants': name,
    connections: `${connections}`,
    'ready after': `${ready.toFixed(0)} ms`,
    'memory of the process': kibibytes(memory),
    'memory of the server': kibibytes(server),
    'GET, 100 in flight, calls/s': Math.round(1e6 / wall).toLocaleString('en'),
    'CPU µs per call': cpu.toFixed(2),
  }));
}

/** The rows that miss what they should reach. */
export function missed(measured: readonly Measured[]): string[] {
  return measured.flatMap(({ row, samples }) => {
    const goals: [Kind, number][] = [['keyPrefix', 1]];
    if (/in flight/.test(row.name)) goals.push(['ioredis', 0.97]);
    if (/pipeline of/.test(row.name)) goals.push(['ioredis', 0.93]);
    return goals
      .filter(([to, goal]) => interval(ratios(samples, 'tenantkit', to)).high < goal)
      .map(([to, goal]) => `${row.name}: ${ratio(samples, 'tenantkit', to)} of ${to}, not ${goal}`);
  });
}

/** On what it ran. */
export function setting(server: string): Promise<string> {
  const manifest = new URL('../package.json', import.meta.resolve('ioredis'));
  return settingOf({ name: 'ioredis', manifest }, `Redis ${server}`);
}

/** A table as Markdown. */
export function markdown(table: Table): string {
  const names = Object.keys(table[0] ?? {});
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
  return [
    line(names),
    line(names.map((_, n) => (n === 0 ? '---' : '---:'))),
    ...table.map((row) => line(names.map((name) => row[name] ?? ''))),
  ].join('\n');
}

function each(of: (kind: Kind) => string): string {
  return KINDS.map(of).join(' / ');
}

function ratio(samples: Readonly<Record<Kind, readonly Sample[]>>, ours: Kind, theirs: Kind): string {
  const all = ratios(samples, ours, theirs);
  const { low, high } = interval(all);
  return `${median(all).toFixed(2)} (${low.toFixed(2)}–${high.toFixed(2)})`;
}

// Of the two samples of each round: what slows the machine down for a while slows both.
function ratios(
  samples: Readonly<Record<Kind, readonly Sample[]>>,
  ours: Kind,
  theirs: Kind,
): readonly number[] {
  return samples[ours].map(({ wall }, round) => (samples[theirs][round]?.wall ?? NaN) / wall);
}

function kibibytes(bytes: number): string {
  return `${Math.round(bytes / 1024).toLocaleString('en')} KiB`;
}

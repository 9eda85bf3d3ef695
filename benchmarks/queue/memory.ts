import { Redis } from 'ioredis';
import type { Table } from '../cache/report.ts';
import { KINDS, wayOf, type Kind } from './rows.ts';

const JOBS = 20_000;
const BULK = 100;
/** About so many bytes of data as JSON. */
const SIZES = [100, 1_024];

/** What a waiting job takes in Redis: what the server holds more when there are many, shared out among them. */
export async function memory(url: string): Promise<Table> {
  const rows: Record<string, string>[] = [];
  for (const size of SIZES) {
    const [bullmq, tenantkit] = [await bytesOf('bullmq', url, size), await bytesOf('tenantkit', url, size)];
    rows.push({
      'A waiting job': `with ${size} bytes of data`,
      'bullmq, bytes': bullmq.toFixed(0),
      'tenantkit, bytes': tenantkit.toFixed(0),
      'tenantkit / bullmq': (tenantkit / bullmq).toFixed(3),
    });
  }
  return rows;
}

async function bytesOf(kind: Kind, server: string, size: number): Promise<number> {
  const url = `${server}/${KINDS.indexOf(kind) + 1}`;
  const admin = new Redis(url);
  const { queue, inside } = wayOf(kind, url);
  const data = { text: 'x'.repeat(size - '{"text":""}'.length) };
  const add = (count: number): Promise<unknown> =>
    inside(() => queue.addBulk(Array.from({ length: count }, () => ({ name: 'n', data }))));
  try {
    await admin.flushall();
    // What there is once per queue is no part of a job.
    await add(1);
    const before = await used(admin);
    for (let n = 0; n < JOBS / BULK; n += 1) await add(BULK);
    return ((await used(admin)) - before) / JOBS;
  } finally {
    await admin.flushall();
    await queue.close();
    admin.disconnect();
  }
}

async function used(admin: Redis): Promise<number> {
  return Number(/used_memory:(\d+)/.exec(await admin.info('memory'))?.[1]);
}

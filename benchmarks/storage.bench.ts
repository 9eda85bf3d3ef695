import { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client as RawS3Client,
} from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import { S3Client } from '@tenantkit/storage';
import { freshBucket } from '@tenantkit/testing';
import { startServers } from '@tenantkit/testing/servers';
import pMap from 'p-map';
import { markdown } from './cache/report.ts';
import { isWritten, writeFigures } from './page.ts';
import { interval, median } from './statistics.ts';
import { alone, kinds, type Cost } from './storage/alone.ts';
import { setting } from './storage/setting.ts';

const ROUNDS = Number(process.env['ROUNDS'] ?? 15);
const KIB = 1024;
/** Calls of one sample, by the bytes of an object. */
const CALLS: Readonly<Record<number, number>> = { [KIB]: 256, [KIB * KIB]: 64 };
const LISTED = 1_000;
const LISTS = 16;

/** The targets: throughput beside the raw client, and what a call may cost more. */
const RATIO = 0.97;
const MICROSECONDS = 20;

type Client = Pick<RawS3Client, 'send'>;
interface Way {
  readonly client: Client;
  /** The key as this client has to give it. */
  readonly name: (key: string) => string;
  readonly inside: <T>(run: () => T) => T;
}

await using servers = await startServers({ s3: true });
await using own = await freshBucket(servers.s3);
const { bucket: Bucket } = own;

/** Both clients with the same configuration; the raw one works where ours does, in another folder. */
function ways(): { readonly raw: Way; readonly ours: Way } {
  return {
    raw: {
      client: new RawS3Client(own.client),
      name: (key) => `tenants/raw/${key}`,
      inside: (run) => run(),
    },
    ours: {
      client: new S3Client({ ...own.client, tenant: { buckets: [Bucket] } }),
      name: (key) => key,
      inside: (run) => withTenant('our', run),
    },
  };
}

type Call = (way: Way, index: number) => Promise<unknown>;

async function drained(reply: { readonly Body?: unknown }): Promise<void> {
  for await (const chunk of reply.Body as Readable) void chunk;
}

const at = (way: Way, index: number): { readonly Bucket: string; readonly Key: string } => ({
  Bucket,
  Key: way.name(`objects/${index}`),
});
const calls = (body: Buffer): Readonly<Record<string, Call>> => ({
  Put: (way, index) => way.client.send(new PutObjectCommand({ ...at(way, index), Body: body })),
  Get: async (way, index) => drained(await way.client.send(new GetObjectCommand(at(way, index)))),
  Head: (way, index) => way.client.send(new HeadObjectCommand(at(way, index))),
  Delete: (way, index) => way.client.send(new DeleteObjectCommand(at(way, index))),
});
const list: Call = (way) =>
  way.client.send(new ListObjectsV2Command({ Bucket, Prefix: way.name('listed/'), MaxKeys: LISTED }));

/** Milliseconds that `count` calls take. */
function measured(way: Way, call: Call, count: number, inFlight: number): Promise<number> {
  const indices = Array.from({ length: count }, (_, index) => index);
  return way.inside(async () => {
    const begin = performance.now();
    await pMap(indices, (index) => call(way, index), { concurrency: inFlight });
    return performance.now() - begin;
  });
}

interface Row {
  readonly name: string;
  readonly rate: number;
  readonly ratios: readonly number[];
}

/** Rounds of both, in turn: what slows the machine down for a while slows both. */
async function compare(
  name: string,
  both: ReturnType<typeof ways>,
  { call, count, inFlight }: { readonly call: Call; readonly count: number; readonly inFlight: number },
): Promise<Row> {
  const times: { readonly raw: number; readonly ours: number }[] = [];
  // The first warms up, and is left out.
  for (let round = 0; round <= ROUNDS; round += 1) {
    const order = round % 2 === 0 ? (['raw', 'ours'] as const) : (['ours', 'raw'] as const);
    const taken = { raw: 0, ours: 0 };
    for (const kind of order) taken[kind] = await measured(both[kind], call, count, inFlight);
    if (round > 0) times.push(taken);
  }
  return {
    name,
    rate: (1000 * count) / median(times.map(({ raw }) => raw)),
    ratios: times.map(({ raw, ours }) => raw / ours),
  };
}

const rows: Row[] = [];
const show = (row: Row): void => {
  rows.push(row);
  console.log(table([row])[0]);
};
const both = ways();
for (const kind of ['raw', 'ours'] as const) {
  const way = both[kind];
  await way.inside(() =>
    pMap(
      Array.from({ length: LISTED }, (_, index) => index),
      (index) =>
        way.client.send(new PutObjectCommand({ Bucket, Key: way.name(`listed/${index}`), Body: 'x' })),
      { concurrency: 32 },
    ),
  );
}
for (const inFlight of [16, 64]) {
  for (const [bytes, count] of Object.entries(CALLS)) {
    const size = Number(bytes) === KIB ? '1 KiB' : '1 MiB';
    for (const [name, call] of Object.entries(calls(Buffer.alloc(Number(bytes), 'x'))))
      show(await compare(`${name} of ${size}, ${inFlight} in flight`, both, { call, count, inFlight }));
  }
  show(
    await compare(`List of ${LISTED}, ${inFlight} in flight`, both, { call: list, count: LISTS, inFlight }),
  );
}

function table(some: readonly Row[]): Readonly<Record<string, string>>[] {
  return some.map(({ name, rate, ratios }) => {
    const { low, high } = interval(ratios);
    return {
      Call: name,
      'AWS SDK, calls/s': Math.round(rate).toLocaleString('en'),
      'tenantkit / AWS SDK': `${median(ratios).toFixed(3)} (${low.toFixed(3)}–${high.toFixed(3)})`,
    };
  });
}

function costTable(some: readonly Cost[]): Readonly<Record<string, string>>[] {
  return some.map(({ name, raw, ours, more, low, high }) => ({
    'Answered at once': name,
    'AWS SDK, CPU µs': raw.toFixed(0),
    'tenantkit, CPU µs': ours.toFixed(0),
    'more, CPU µs': `${more.toFixed(1)} (${low.toFixed(1)} to ${high.toFixed(1)})`,
  }));
}

const costs: Cost[] = [];
for (const kind of kinds) {
  const cost = await alone(kind, ROUNDS);
  costs.push(cost);
  console.log(costTable([cost])[0]);
}
const figures = [
  `${await setting()}. ${ROUNDS} rounds.`,
  markdown(table(rows)),
  markdown(costTable(costs)),
].join('\n\n');
console.log(figures);
for (const { name, ratios } of rows)
  if (interval(ratios).high < RATIO) console.log(`below the target of ${RATIO}: ${name}`);
for (const { name, isSingle, low } of costs)
  if (isSingle && low > MICROSECONDS) console.log(`above the target of ${MICROSECONDS} µs per call: ${name}`);
if (isWritten) await writeFigures('storage', figures);

import { Readable } from 'node:stream';
import {
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  HeadObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client as RawS3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import { HttpResponse } from '@smithy/core/protocols';
import { withTenant } from '@tenantkit/core';
import { S3Client } from '@tenantkit/storage';
import pMap from 'p-map';
import { interval, median } from '../statistics.ts';

/** What one call of a kind costs in CPU, in µs: medians over the rounds, and the interval of the difference. */
export interface Cost {
  readonly name: string;
  readonly raw: number;
  readonly ours: number;
  readonly more: number;
  readonly low: number;
  readonly high: number;
  /** Whether it is about a single object. */
  readonly isSingle: boolean;
}

const Bucket = 'uploads';
const IN_FLIGHT = 16;
/** Calls of one sample, and those of a thousand keys. */
const CALLS = 1_000;
const BATCHES = 16;

type Client = Pick<RawS3Client, 'send'>;
type Call = (client: Client, name: (key: string) => string, index: number) => Promise<unknown>;

const at = (
  name: (key: string) => string,
  index: number,
): { readonly Bucket: string; readonly Key: string } => ({
  Bucket,
  Key: name(`objects/${index}`),
});
const BODY = Buffer.alloc(1_024, 'x');

interface Kind {
  readonly call: Call;
  /** Calls of one sample. */
  readonly count: number;
  /** What the server answers, to a client whose keys begin like that. */
  readonly answer?: (prefix: string) => { readonly status?: number; readonly body: string };
}

const KINDS: Readonly<Record<string, Kind>> = {
  'Put of 1 KiB': {
    call: (client, name, index) => client.send(new PutObjectCommand({ ...at(name, index), Body: BODY })),
    count: CALLS,
  },
  'Get of 1 KiB': {
    call: async (client, name, index) => {
      const { Body } = await client.send(new GetObjectCommand(at(name, index)));
      for await (const chunk of Body as Readable) void chunk;
    },
    count: CALLS,
    answer: () => ({ body: BODY.toString() }),
  },
  Head: { call: (client, name, index) => client.send(new HeadObjectCommand(at(name, index))), count: CALLS },
  Delete: {
    call: (client, name, index) => client.send(new DeleteObjectCommand(at(name, index))),
    count: CALLS,
    answer: () => ({ status: 204, body: '' }),
  },
  'DeleteObjects of 1,000': {
    call: (client, name) =>
      client.send(
        new DeleteObjectsCommand({
          Bucket,
          Delete: { Objects: numbers(1_000).map((n) => ({ Key: name(`objects/${n}`) })), Quiet: true },
        }),
      ),
    count: BATCHES,
    answer: () => ({ body: `${XML}<DeleteResult ${NAMESPACE}/>` }),
  },
  'List of 1,000': {
    call: (client, name) => client.send(new ListObjectsV2Command({ Bucket, Prefix: name('listed/') })),
    count: BATCHES,
    answer: (prefix) => ({ body: listing(prefix) }),
  },
};

const XML = '<?xml version="1.0" encoding="UTF-8"?>';
const NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';

function listing(prefix: string): string {
  const contents = numbers(1_000).map(
    (n) =>
      `<Contents><Key>${prefix}listed/${n}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>"9dd4e461268c8034f5c8564e155c67a6"</ETag><Size>1</Size><StorageClass>STANDARD</StorageClass></Contents>`,
  );
  return `${XML}<ListBucketResult ${NAMESPACE}><Name>${Bucket}</Name><Prefix>${prefix}listed/</Prefix><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated><KeyCount>1000</KeyCount>${contents.join('')}</ListBucketResult>`;
}

function numbers(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index);
}

/** A handler that answers at once, from memory. */
function silent({ status = 200, body }: { readonly status?: number; readonly body: string }): object {
  const chunk = Buffer.from(body);
  const headers = {
    date: new Date().toUTCString(),
    etag: '"9dd4e461268c8034f5c8564e155c67a6"',
    'content-length': `${chunk.length}`,
  };
  return {
    metadata: { handlerProtocol: 'http/1.1' },
    handle: () =>
      Promise.resolve({
        response: new HttpResponse({
          statusCode: status,
          headers: { ...headers },
          body: Readable.from(chunk.length === 0 ? [] : [chunk], { objectMode: false }),
        }),
      }),
    httpHandlerConfigs: () => ({}),
    updateHttpClientConfig: () => undefined,
  };
}

/** Names of the calls that are measured. */
export const kinds: readonly string[] = Object.keys(KINDS);

/**
 * What a call costs in CPU where nothing is sent, with the raw client and with ours, in turn.
 *
 * @param name - one of {@link kinds}
 */
export async function alone(name: string, rounds: number): Promise<Cost> {
  const { count, ...ways } = waysOf(name);
  const costs: { readonly raw: number; readonly ours: number }[] = [];
  // The first ones warm up, and are left out.
  for (let round = -WARM_UP; round < rounds; round += 1) {
    const taken = { raw: 0, ours: 0 };
    for (const way of round % 2 === 0 ? (['raw', 'ours'] as const) : (['ours', 'raw'] as const)) {
      const begin = process.cpuUsage();
      await ways[way]();
      const { user, system } = process.cpuUsage(begin);
      taken[way] = (user + system) / count;
    }
    if (round >= 0) costs.push(taken);
  }
  const more = costs.map(({ raw, ours }) => ours - raw);
  return {
    name,
    isSingle: count === CALLS,
    raw: median(costs.map(({ raw }) => raw)),
    ours: median(costs.map(({ ours }) => ours)),
    more: median(more),
    ...interval(more),
  };
}

const WARM_UP = 3;

/** Samples of `count` calls, with the raw client and with ours, which get the same answers. */
function waysOf(name: string): {
  readonly count: number;
  readonly raw: () => Promise<unknown>;
  readonly ours: () => Promise<unknown>;
} {
  const kind = KINDS[name];
  if (kind === undefined) throw new RangeError(`There is no ${name}`);
  const { call, count, answer = () => ({ body: '' }) } = kind;
  const prefix = 'tenants/our/';
  const configuration = {
    region: 'us-east-1',
    endpoint: 'http://127.0.0.1:9',
    forcePathStyle: true,
    credentials: { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'example' },
    requestHandler: silent(answer(prefix)) as NonNullable<S3ClientConfig['requestHandler']>,
  };
  const raw = new RawS3Client(configuration);
  const ours = new S3Client({ ...configuration, tenant: { buckets: [Bucket] } });
  const each = (client: Client, named: (key: string) => string): Promise<unknown> =>
    pMap(numbers(count), (index) => call(client, named, index), { concurrency: IN_FLIGHT });
  return {
    count,
    raw: () => each(raw, (key) => prefix + key),
    ours: () => withTenant('our', () => each(ours, (key) => key)),
  };
}

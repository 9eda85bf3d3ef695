import { createHmac, randomBytes } from 'node:crypto';
import type { S3Client } from '@aws-sdk/client-s3';
import { ConfigError } from '@tenantkit/core';
import type { S3Connection } from './definition.ts';
import { ANSWERS_WITHIN_MS } from './probe.ts';

/** How often the gateway is started before it is given up. */
const GATEWAY_STARTS = 6;

const REQUEST_WITHIN_MS = 30_000;

/** The SDK, loaded when S3 is asked for: whoever uses no S3 need not install it. */
export async function loadS3(): Promise<typeof import('@aws-sdk/client-s3')> {
  try {
    return await import('@aws-sdk/client-s3');
  } catch (cause) {
    throw new ConfigError({
      surface: 'testing',
      operation: 's3',
      problem: '@aws-sdk/client-s3 is not installed',
      hint: 'Add it to your devDependencies: it is needed as soon as S3 is asked for.',
      cause,
    });
  }
}

/** A client for the server as it is, past every adapter. */
export async function rawS3({
  endpoint,
  region,
  accessKeyId,
  secretAccessKey,
}: S3Connection): Promise<S3Client> {
  const { S3Client } = await loadS3();
  return new S3Client({
    endpoint,
    region,
    credentials: { accessKeyId, secretAccessKey },
    forcePathStyle: true,
    // Servers other than AWS do not know the newer checksums.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: ANSWERS_WITHIN_MS,
      requestTimeout: REQUEST_WITHIN_MS,
      // Without it the time-out is a line on the console, and the request goes on waiting.
      throwOnRequestTimeout: true,
    },
    maxAttempts: 1,
  });
}

/**
 * Whether the server answers soon and accepts the keys.
 *
 * @param signal - ends the request
 */
export async function listsBuckets(connection: S3Connection, signal?: AbortSignal): Promise<boolean> {
  const { ListBucketsCommand } = await loadS3();
  const client = await rawS3(connection);
  try {
    const { Buckets } = await client.send(new ListBucketsCommand({}), {
      abortSignal: limited(ANSWERS_WITHIN_MS, signal),
    });
    // An answer that is no list comes from another kind of server.
    return Array.isArray(Buckets);
  } catch {
    // Not up yet, somebody else's server, or wrong keys: the caller words it.
    return false;
  } finally {
    client.destroy();
  }
}

/** Whether the server accepts these keys and no others: one that accepts any is somebody else's. */
export async function knowsKeys(connection: S3Connection, signal?: AbortSignal): Promise<boolean> {
  const stranger = { ...connection, secretAccessKey: randomBytes(20).toString('hex') };
  return (await listsBuckets(connection, signal)) && !(await listsBuckets(stranger, signal));
}

/**
 * Now and then radosgw comes up unable to read any POST policy (`Malformed JSON` for every form) and stays so
 * until it is started again.
 *
 * @param connection - the gateway
 * @param gateway - `up` waits until it answers, `restart` starts it again, `check` sends it a form
 * @throws Error when it is still so after several starts
 */
export async function soundGateway(
  connection: S3Connection,
  {
    up,
    restart,
    check = acceptsPostForms,
  }: {
    readonly up: () => Promise<void>;
    readonly restart: () => Promise<void>;
    readonly check?: (connection: S3Connection) => ReturnType<typeof acceptsPostForms>;
  },
): Promise<void> {
  for (let starts = 1; ; starts += 1) {
    await up();
    const { accepted, answer } = await check(connection);
    if (accepted) return;
    if (starts >= GATEWAY_STARTS) throw new Error(`the gateway refuses every POST form: ${answer}`);
    await restart();
  }
}

/**
 * Sends one browser form (POST policy) to a bucket made for it.
 *
 * @param signer - whose keys sign the form
 * @param signal - ends the requests
 */
export async function acceptsPostForms(
  connection: S3Connection,
  signer: S3Connection = connection,
  signal?: AbortSignal,
): Promise<{ accepted: boolean; answer: string }> {
  const { CreateBucketCommand, DeleteBucketCommand, DeleteObjectCommand } = await loadS3();
  const client = await rawS3(connection);
  const Bucket = `tk-check-${randomBytes(6).toString('hex')}`;
  const Key = 'form';
  const abortSignal = limited(REQUEST_WITHIN_MS, signal);
  try {
    await client.send(new CreateBucketCommand({ Bucket }), { abortSignal });
    const form = new FormData();
    for (const [name, value] of Object.entries(signedForm(signer, Bucket, Key))) form.set(name, value);
    form.set('file', new Blob(['it works']));
    const reply = await fetch(`${connection.endpoint}/${Bucket}`, {
      method: 'POST',
      body: form,
      signal: abortSignal,
    });
    const answer = `${reply.status} ${(await reply.text()).slice(0, 300)}`;
    await client.send(new DeleteObjectCommand({ Bucket, Key }), { abortSignal });
    await client.send(new DeleteBucketCommand({ Bucket }), { abortSignal });
    return { accepted: reply.ok, answer };
  } finally {
    client.destroy();
  }
}

function limited(within: number, signal: AbortSignal | undefined): AbortSignal {
  const limit = AbortSignal.timeout(within);
  return signal === undefined ? limit : AbortSignal.any([signal, limit]);
}

/** Source: https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-authentication-HTTPPOST.html */
function signedForm(
  { region, accessKeyId, secretAccessKey }: S3Connection,
  bucket: string,
  key: string,
): Record<string, string> {
  const now = new Date();
  const date = `${now.toISOString().replace(/[-:]/g, '').slice(0, 15)}Z`;
  const day = date.slice(0, 8);
  const scope = `${day}/${region}/s3/aws4_request`;
  const signed = {
    key,
    'x-amz-algorithm': 'AWS4-HMAC-SHA256',
    'x-amz-credential': `${accessKeyId}/${scope}`,
    'x-amz-date': date,
  };
  const policy = Buffer.from(
    JSON.stringify({
      expiration: new Date(now.getTime() + 600_000).toISOString(),
      conditions: [{ bucket }, ...Object.entries(signed).map(([name, value]) => ({ [name]: value }))],
    }),
  ).toString('base64');
  const hmac = (secret: string | Buffer, text: string): Buffer =>
    createHmac('sha256', secret).update(text).digest();
  const signing = scope.split('/').reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
  return { ...signed, policy, 'x-amz-signature': hmac(signing, policy).toString('hex') };
}

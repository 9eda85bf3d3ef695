import { createHash, createHmac, randomBytes } from 'node:crypto';
import type { Opened } from './open.ts';
import type { Session } from './role.ts';

type Keys = Pick<Session, 'accessKeyId' | 'secretAccessKey'> & Partial<Session>;

/** A topic for events of a bucket, on a server that makes them for whoever has keys. */
export interface Topic extends AsyncDisposable {
  readonly arn: string;
}

/** Makes one with the given keys. */
export async function openTopic({ options }: Pick<Opened, 'options'>, keys: Keys): Promise<Topic> {
  const name = `tk-test-${randomBytes(4).toString('hex')}`;
  const call = async (parameters: Readonly<Record<string, string>>): Promise<string> => {
    const response = await fetch(options.endpoint, signed(options, keys, parameters));
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status} ${text}`);
    return text;
  };
  const made = await call({
    Action: 'CreateTopic',
    Name: name,
    'Attributes.entry.1.key': 'push-endpoint',
    'Attributes.entry.1.value': 'http://127.0.0.1:9/',
  });
  const arn = /<TopicArn>([^<]+)</.exec(made)?.[1] ?? '';
  return {
    arn,
    async [Symbol.asyncDispose]() {
      await call({ Action: 'DeleteTopic', TopicArn: arn });
    },
  };
}

/** A request to SNS, of which the SDK for S3 knows nothing. */
function signed(
  { endpoint, region }: Opened['options'],
  { accessKeyId, secretAccessKey, sessionToken }: Keys,
  parameters: Readonly<Record<string, string>>,
): RequestInit {
  const body = new URLSearchParams(parameters).toString();
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const parts = [date.slice(0, 8), region, 'sns', 'aws4_request'];
  const headers = {
    'content-type': 'application/x-www-form-urlencoded',
    host: new URL(endpoint).host,
    'x-amz-content-sha256': sha256(body),
    'x-amz-date': date,
    ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
  };
  const names = Object.keys(headers).join(';');
  const lines = Object.entries(headers).map(([name, value]) => `${name}:${value}`);
  const canonical = ['POST', '/', '', ...lines, '', names, sha256(body)].join('\n');
  const text = ['AWS4-HMAC-SHA256', date, parts.join('/'), sha256(canonical)].join('\n');
  const key = parts.reduce<string | Buffer>(hmac, `AWS4${secretAccessKey}`);
  const authorization = `AWS4-HMAC-SHA256 Credential=${accessKeyId}/${parts.join('/')}, SignedHeaders=${names}, Signature=${hmac(key, text).toString('hex')}`;
  return { method: 'POST', body, headers: { ...headers, authorization } };
}

function sha256(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}

function hmac(key: string | Buffer, text: string): Buffer {
  return createHmac('sha256', key).update(text).digest();
}

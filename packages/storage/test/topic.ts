import { randomBytes } from 'node:crypto';
import type { Opened } from './open.ts';
import { send, type Keys } from './signed.ts';

/** A topic for events of a bucket, on a server that makes them for whoever has keys. */
export interface Topic extends AsyncDisposable {
  readonly arn: string;
}

/** Makes one with the given keys. */
export async function openTopic({ options }: Pick<Opened, 'options'>, keys: Keys): Promise<Topic> {
  const call = (form: Readonly<Record<string, string>>): Promise<string> =>
    send(options, keys, { service: 'sns', form });
  const made = await call({
    Action: 'CreateTopic',
    Name: `tk-test-${randomBytes(4).toString('hex')}`,
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

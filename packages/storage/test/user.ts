import { randomBytes } from 'node:crypto';
import type { Opened } from './open.ts';
import { send, type Keys } from './signed.ts';

/** A user of the server besides the one that owns the buckets. */
export interface User extends AsyncDisposable {
  readonly arn: string;
  readonly keys: Keys;
}

/** Makes one that owns nothing and may do nothing, by the operators' API of Ceph. */
export async function openUser({ options }: Pick<Opened, 'options'>): Promise<User> {
  const uid = `tk-test-${randomBytes(4).toString('hex')}`;
  const call = (method: string, query: Readonly<Record<string, string>>): Promise<string> =>
    send(options, options.credentials, {
      service: 's3',
      method,
      path: '/admin/user',
      query: { ...query, uid, format: 'json' },
    });
  const made = JSON.parse(await call('PUT', { 'display-name': uid })) as {
    readonly keys: readonly { readonly access_key: string; readonly secret_key: string }[];
  };
  const [key] = made.keys;
  return {
    arn: `arn:aws:iam:::user/${uid}`,
    keys: { accessKeyId: key?.access_key ?? '', secretAccessKey: key?.secret_key ?? '' },
    async [Symbol.asyncDispose]() {
      await call('DELETE', { 'purge-data': 'true' });
    },
  };
}

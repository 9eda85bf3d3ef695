import { randomBytes } from 'node:crypto';
import {
  CreateRoleCommand,
  DeleteRoleCommand,
  DeleteRolePolicyCommand,
  IAMClient,
  PutRolePolicyCommand,
} from '@aws-sdk/client-iam';
import { AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import type { PolicyDocument } from '@tenantkit/storage';
import type { Opened } from './open.ts';
import type { Keys } from './signed.ts';

/** What a session is signed with. */
export interface Session {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly sessionToken: string;
}

const EVERYTHING = { Effect: 'Allow', Action: ['s3:*'], Resource: ['arn:aws:s3:::*'] };

/** A role that may do everything unless it is said, so that what is refused is refused by a tenant's policy alone. */
export interface OpenedRole {
  readonly arn: string;
  readonly sts: STSClient;
  /** A session of the role, confined by the given policy or not at all. */
  session(policy?: object): Promise<Session>;
  [Symbol.asyncDispose](): Promise<void>;
}

/** How a role is made. */
export interface RoleOptions {
  /** Who may assume the role of this ARN; everybody without it. */
  readonly trust?: ((roleArn: string) => PolicyDocument) | undefined;
  readonly path?: string | undefined;
  /** What else its policy says, beside that everything is allowed. */
  readonly statements?: readonly object[] | undefined;
  /** What its policy says instead of that. */
  readonly allowed?: readonly object[] | undefined;
  /** Whose keys assume it; without them the service's. */
  readonly keys?: Keys | undefined;
}

/** Makes one on the server of a bucket. */
export async function openRole(
  { options }: Pick<Opened, 'options'>,
  { trust, path = '/', statements = [], allowed = [EVERYTHING], keys }: RoleOptions = {},
): Promise<OpenedRole> {
  const { endpoint, region, credentials } = options;
  const iam = new IAMClient({ endpoint, region, credentials });
  const sts = new STSClient({ endpoint, region, credentials: keys ?? credentials });
  const RoleName = `tk-test-${randomBytes(4).toString('hex')}`;
  const everybody = { Effect: 'Allow', Principal: { AWS: ['*'] }, Action: ['sts:AssumeRole'] };
  const AssumeRolePolicyDocument =
    trust === undefined ? policy([everybody]) : JSON.stringify(trust(`arn:aws:iam:::role${path}${RoleName}`));
  const { Role } = await iam.send(new CreateRoleCommand({ RoleName, Path: path, AssumeRolePolicyDocument }));
  await iam.send(
    new PutRolePolicyCommand({
      RoleName,
      PolicyName: 'all',
      PolicyDocument: policy([...allowed, ...statements]),
    }),
  );
  const arn = Role?.Arn ?? '';
  return {
    arn,
    sts,
    async session(given) {
      const { Credentials } = await sts.send(
        new AssumeRoleCommand({
          RoleArn: arn,
          RoleSessionName: 'test',
          ...(given === undefined ? {} : { Policy: JSON.stringify(given) }),
        }),
      );
      return {
        accessKeyId: Credentials?.AccessKeyId ?? '',
        secretAccessKey: Credentials?.SecretAccessKey ?? '',
        sessionToken: Credentials?.SessionToken ?? '',
      };
    },
    async [Symbol.asyncDispose]() {
      await iam.send(new DeleteRolePolicyCommand({ RoleName, PolicyName: 'all' }));
      await iam.send(new DeleteRoleCommand({ RoleName }));
      for (const client of [iam, sts]) client.destroy();
    },
  };
}

function policy(Statement: readonly object[]): string {
  return JSON.stringify({ Version: '2012-10-17', Statement });
}

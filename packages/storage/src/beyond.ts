import {
  GetBucketLifecycleConfigurationCommand,
  GetBucketLoggingCommand,
  GetBucketNotificationConfigurationCommand,
  GetBucketReplicationCommand,
  ListBucketInventoryConfigurationsCommand,
  type GetBucketNotificationConfigurationCommandOutput,
} from '@aws-sdk/client-s3';
import { traitsOf } from './listing.ts';
import type { Remote } from './remote.ts';
import { settingOf, type Setting } from './settings.ts';

/**
 * What the erasure of a tenant from a bucket does not reach, or does not end: copies elsewhere, names in logs and
 * inventories, what stands in its way. What cannot be seen is said, too.
 */
export async function beyond(remote: Remote): Promise<string[]> {
  const { bucket } = remote;
  const notes: string[] = [];
  if ((await traitsOf(remote)).mfaDelete)
    notes.push(
      'MFA delete is on: the erasure will be refused until the root user of the account has switched it off.',
    );
  for (const { what, ask, told } of LOOKS) {
    const setting = await ask(remote, bucket);
    if (setting.state === 'unseen')
      notes.push(`Whether there is ${what} could not be seen (${setting.why}).`);
    if (setting.state === 'set') notes.push(...told(setting.value));
  }
  return notes.map((note) => `${bucket}: ${note}`);
}

/** One look at the bucket, and what it means for an erasure. */
interface Look<Output = unknown> {
  readonly what: string;
  readonly ask: (remote: Remote, bucket: string) => Promise<Setting<Output>>;
  readonly told: (output: Output) => string[];
}

function look<Output>(entry: Look<Output>): Look {
  return entry as Look;
}

const LOOKS: readonly Look[] = [
  look({
    what: 'a replication to other buckets',
    ask: (remote, Bucket) =>
      settingOf(remote, new GetBucketReplicationCommand({ Bucket }), 'ReplicationConfiguration'),
    told: ({ ReplicationConfiguration }) =>
      namesOf(ReplicationConfiguration?.Rules, ({ Destination }) => Destination?.Bucket).map(
        (name) =>
          `Objects are replicated to ${name}, where deletions of versions do not follow: erase the tenant there as well.`,
      ),
  }),
  look({
    what: 'a lifecycle rule',
    ask: (remote, Bucket) =>
      settingOf(remote, new GetBucketLifecycleConfigurationCommand({ Bucket }), 'LifecycleConfiguration'),
    told: ({ Rules = [] }) =>
      namesOf(
        Rules.flatMap(({ Transitions = [], NoncurrentVersionTransitions = [] }) => [
          ...Transitions,
          ...NoncurrentVersionTransitions,
        ]),
        ({ StorageClass }) => StorageClass,
      ).map(
        (name) =>
          `A lifecycle rule moves objects to ${name}: they are erased there, too, but the least time of storage is billed, and restored copies stay until they expire.`,
      ),
  }),
  look({
    what: 'a log of requests',
    ask: (remote, Bucket) =>
      settingOf(remote, new GetBucketLoggingCommand({ Bucket }), 'BucketLoggingStatus'),
    told: ({ LoggingEnabled }) =>
      LoggingEnabled === undefined
        ? []
        : [
            `Requests are logged to ${LoggingEnabled.TargetBucket ?? 'a bucket'}, with keys of objects and addresses of callers: the erasure does not touch logs.`,
          ],
  }),
  look({
    what: 'an inventory',
    ask: (remote, Bucket) =>
      settingOf(
        remote,
        new ListBucketInventoryConfigurationsCommand({ Bucket }),
        'ListInventoryConfigurationsResult',
      ),
    told: ({ InventoryConfigurationList }) =>
      namesOf(InventoryConfigurationList, ({ Destination }) => Destination?.S3BucketDestination?.Bucket).map(
        (name) => `Inventories with keys of objects are written to ${name}: the erasure does not touch them.`,
      ),
  }),
  look({
    what: 'a notification of events',
    ask: (remote, Bucket) =>
      settingOf(
        remote,
        new GetBucketNotificationConfigurationCommand({ Bucket }),
        'NotificationConfiguration',
      ),
    told: (output) =>
      eventTargets(output).map(
        (name) => `Events with keys of objects go to ${name}, and what it keeps of them is not erased.`,
      ),
  }),
];

/** Where the events of a bucket are sent. */
export function eventTargets({
  TopicConfigurations = [],
  QueueConfigurations = [],
  LambdaFunctionConfigurations = [],
  EventBridgeConfiguration,
}: Partial<GetBucketNotificationConfigurationCommandOutput>): string[] {
  const targets = [
    ...TopicConfigurations.map(({ TopicArn }) => TopicArn),
    ...QueueConfigurations.map(({ QueueArn }) => QueueArn),
    ...LambdaFunctionConfigurations.map(({ LambdaFunctionArn }) => LambdaFunctionArn),
    ...(EventBridgeConfiguration === undefined ? [] : ['EventBridge']),
  ];
  return namesOf(targets, (target) => target);
}

function namesOf<T>(things: readonly T[] = [], nameOf: (thing: T) => string | undefined): string[] {
  return [...new Set(things.map((thing) => nameOf(thing) ?? 'an unnamed target'))];
}

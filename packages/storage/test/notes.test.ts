import { PutBucketLifecycleConfigurationCommand as RawPutBucketLifecycleConfigurationCommand } from '@aws-sdk/client-s3';
import { storageEraser } from '@tenantkit/storage';
import { describe, expect, it } from 'vitest';
import { altered } from './erase-support.ts';
import { open, type Opened } from './open.ts';

const notesOf = async (own: Opened, s3 = own.s3): Promise<readonly string[]> =>
  (await storageEraser(s3, { bucket: own.bucket }).plan({ tenant: 'acme' })).notes ?? [];

describe('the notes of a plan', () => {
  it('say what could not be seen, and nothing of what is not there', async () => {
    await using own = await open();
    // Ceph answers the question for inventories with the listing of the bucket, in which the SDK finds none.
    expect(await notesOf(own)).toEqual([
      `${own.bucket}: Whether there is an inventory could not be seen (the server answers with something else (ListBucketResult)).`,
    ]);
  });

  it('name a class of storage that a rule of the bucket moves objects to', async () => {
    await using own = await open();
    await own.raw.send(
      new RawPutBucketLifecycleConfigurationCommand({
        Bucket: own.bucket,
        LifecycleConfiguration: {
          Rules: [
            {
              ID: 'archive',
              Status: 'Enabled',
              Filter: { Prefix: '' },
              NoncurrentVersionTransitions: [{ NoncurrentDays: 30, StorageClass: 'STANDARD_IA' }],
              Expiration: { Days: 365 },
            },
          ],
        },
      }),
    );
    expect(await notesOf(own)).toContainEqual(expect.stringContaining('moves objects to STANDARD_IA'));
  });

  it('name replicas, logs, inventories and who hears of events', async () => {
    await using own = await open();
    const answers: Readonly<Record<string, object>> = {
      GetBucketReplicationCommand: {
        ReplicationConfiguration: {
          Role: 'r',
          Rules: [1, 2].map(() => ({ Status: 'Enabled', Destination: { Bucket: 'arn:aws:s3:::replica' } })),
        },
      },
      GetBucketLoggingCommand: { LoggingEnabled: { TargetBucket: 'logs', TargetPrefix: '' } },
      GetBucketNotificationConfigurationCommand: {
        QueueConfigurations: [{ QueueArn: 'arn:aws:sqs:::uploaded', Events: [] }],
        EventBridgeConfiguration: {},
      },
    };
    using s3 = altered(own, async ({ command, next }) => ({ ...(await next()), ...answers[command] }));
    const notes = (await notesOf(own, s3)).join('\n');
    expect(notes.match(/replicated to arn:aws:s3:::replica/g)).toHaveLength(1);
    expect(notes).toContain('logged to logs');
    expect(notes).toContain('go to arn:aws:sqs:::uploaded');
    expect(notes).toContain('go to EventBridge');
  });

  it('say so where the credentials may not look, and fail where the bucket is gone', async () => {
    await using own = await open();
    for (const [name, status] of [
      ['AccessDenied', 403],
      ['NotImplemented', 501],
    ] as const) {
      using s3 = altered(own, ({ command, next }) => {
        if (command !== 'GetBucketReplicationCommand') return next();
        throw Object.assign(new Error(name), { name, $metadata: { httpStatusCode: status } });
      });
      expect(await notesOf(own, s3)).toContain(
        `${own.bucket}: Whether there is a replication to other buckets could not be seen (${name}, status ${status}).`,
      );
    }
    using gone = altered(own, ({ command, next }) => {
      if (command !== 'GetBucketReplicationCommand') return next();
      throw Object.assign(new Error('gone'), { name: 'NoSuchBucket', $metadata: { httpStatusCode: 404 } });
    });
    await expect(notesOf(own, gone)).rejects.toThrow('gone');
  });
});

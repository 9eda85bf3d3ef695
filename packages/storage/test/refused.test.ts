import * as sdk from '@aws-sdk/client-s3';
import { MissingTenantError, OperationRefusedError, acrossTenants, withTenant } from '@tenantkit/core';
import { S3, type S3Client } from '@tenantkit/storage';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { rules } from '../src/rules.ts';
import { sendPast } from './attack.ts';
import { countRequests, open, type Opened } from './open.ts';

let own: Opened;
let s3: S3;
let sent: () => number;
beforeAll(async () => {
  own = await open();
  s3 = new S3({ ...own.options, tenant: { buckets: [own.bucket] } });
  sent = countRequests(s3);
});
afterAll(async () => {
  s3.destroy();
  await own[Symbol.asyncDispose]();
});

type Class = new (input: object) => sdk.HeadObjectCommand;
type Methods = Readonly<Record<string, (input: object) => Promise<unknown>>>;

// Of the SDK's exports, not of our table: a command that it does not know must be refused as well.
const commands = Object.entries(sdk).filter(
  ([name]) => name.endsWith('Command') && name !== '$Command',
) as unknown as [string, Class][];
const refused = commands.filter(([name]) => rules[name as keyof typeof rules].kind === 'refuse');

// What any of them could want, so that nothing but the rules stops it.
const input = (): object => ({
  Bucket: own.bucket,
  Key: 'one',
  Id: 'one',
  VersionId: 'one',
  RequestRoute: 'one',
  RequestToken: 'one',
  RenameSource: 'two',
  AnnotationName: 'one',
});

const settle = (run: () => Promise<unknown>): Promise<unknown> =>
  run().then(
    () => 'not refused',
    (error: unknown) => error,
  );

it('there are more than eighty', () => {
  expect(refused.length).toBeGreaterThan(80);
  expect(refused.length).toBeLessThan(commands.length);
});

describe.each(refused)('%s', (name, Command) => {
  const method = name.charAt(0).toLowerCase() + name.slice(1).replace(/Command$/, '');

  it('is refused inside a tenant before anything leaves, however it is sent', async () => {
    const before = sent();
    const byCallback = (client: S3Client | S3): Promise<unknown> =>
      new Promise((resolve, reject) => {
        client.send(new Command(input()), (error: unknown, value: unknown) => {
          if (error === null || error === undefined) resolve(value);
          else reject(error);
        });
      });
    const ways = [
      () => s3.send(new Command(input())),
      () => byCallback(s3),
      ...(method in s3
        ? [() => (s3 as unknown as Methods)[method]?.call(s3, input()) ?? Promise.resolve()]
        : []),
    ];
    for (const way of ways) {
      const error = await withTenant('acme', () => settle(way));
      expect(error).toBeInstanceOf(OperationRefusedError);
      expect(error).toMatchObject({ code: 'OPERATION_REFUSED', surface: 'storage', operation: name });
      expect(await settle(way)).toBeInstanceOf(MissingTenantError);
    }
    expect(sent()).toBe(before);
  });
});

it('what is refused inside a tenant leaves where the boundary is lifted', async () => {
  const before = sent();
  const bypass = { reason: 'test', actor: 'test' };
  const head = new sdk.HeadBucketCommand({ Bucket: own.bucket });
  await expect(withTenant('acme', () => s3.send(head))).rejects.toThrow(OperationRefusedError);
  await acrossTenants(bypass, () => s3.send(head));
  expect(sent()).toBe(before + 1);
});

it('a command that nobody has decided about is refused', async () => {
  class MakeCoffeeCommand extends sdk.HeadObjectCommand {
    override resolveMiddleware(...args: Parameters<sdk.HeadObjectCommand['resolveMiddleware']>) {
      const [stack, ...rest] = args;
      const resolve = stack.resolve.bind(stack);
      // As the SDK would name it.
      const named = Object.create(stack, {
        clone: { value: () => named },
        concat: { value: () => named },
        use: { value: () => undefined },
        resolve: {
          value: (last: never, context: object) =>
            resolve(last, { ...context, commandName: 'MakeCoffeeCommand' }),
        },
      }) as typeof stack;
      return super.resolveMiddleware(named, ...rest);
    }
  }
  const before = sent();
  const make = new MakeCoffeeCommand({ Bucket: own.bucket, Key: 'one' });
  // Past our own send, which takes no command with code of its own.
  const error = await withTenant('acme', () => settle(() => sendPast(s3, make)));
  expect(error).toMatchObject({ code: 'OPERATION_REFUSED', operation: 'MakeCoffeeCommand' });
  expect(sent()).toBe(before);
});

import { isDeepStrictEqual } from 'node:util';
import { isRedisInstance, type ConnectionOptions } from 'bullmq';
import type { Placement } from '@tenantkit/core';
import { z } from 'zod';

/**
 * Where the jobs of one tenant are: `pool` in the Redis of the queue, `silo` in another one, which is given as BullMQ
 * takes every connection: an ioredis client, which stays the caller's to close, or options to make one with. Another
 * database of the same server is a silo as well. Keys are named in the same way everywhere.
 */
export type QueuePlacement = Placement<never, { readonly connection: ConnectionOptions }>;

const NO_CONNECTION = 'place.connection: must be an ioredis client, or options that say where a server is';

const placement = z.discriminatedUnion('level', [
  z.strictObject({ level: z.literal('pool') }),
  z.strictObject({
    level: z.literal('silo'),
    connection: z.custom<ConnectionOptions>(
      (value) =>
        typeof value === 'object' && value !== null && (isRedisInstance(value) || isSomewhere(value)),
    ),
  }),
]);

/** Schema of the option `place`: what it answers is checked when it is asked. */
export const placeSchema: z.ZodType<(tenant: string) => QueuePlacement> = z.custom<
  (tenant: string) => QueuePlacement
>((value) => typeof value === 'function', 'must be a function');

/** What `place` has answered is no placement. */
export class InvalidPlacement extends Error {
  override readonly name = 'InvalidPlacement';
}

/**
 * Reads what `place` has answered.
 *
 * @returns the connection of a silo, `undefined` for the pool
 * @throws {@link InvalidPlacement} that says what is wrong, and shows nothing of it: an address may name a customer
 */
export function readPlacement(answer: unknown): ConnectionOptions | undefined {
  const result = placement.safeParse(answer);
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new InvalidPlacement(
      issue?.code === 'unrecognized_keys'
        ? `place: unknown option ${issue.keys.join(', ')}`
        : issue?.path[0] === 'connection'
          ? NO_CONNECTION
          : "place.level: must be 'pool' or 'silo'",
    );
  }
  if (result.data.level === 'pool') return undefined;
  const { connection } = result.data;
  // A copy: what is changed in it later is no move.
  return isRedisInstance(connection) ? connection : Object.freeze({ ...connection });
}

/** Whether two connections lead to the same place. Clients are compared by what they are, options by what they say. */
export function isSamePlace(one: ConnectionOptions, other: ConnectionOptions): boolean {
  if (isRedisInstance(one) || isRedisInstance(other)) return one === other;
  return isDeepStrictEqual(one, other);
}

/** What says where a server is: without any of it ioredis would connect to this machine. */
const ADDRESS = ['url', 'host', 'port', 'path', 'sentinels'] as const;

function isSomewhere(options: object): boolean {
  return ADDRESS.some((part) => Reflect.get(options, part) !== undefined);
}

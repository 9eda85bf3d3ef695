// Checked by the compiler (tsc -p tsconfig.test.json); nothing here runs.
import type { Rules } from '@tenantkit/core';
import Default, { Cluster, Redis, type ClusterOptions, type RedisOptions } from '@tenantkit/cache';
import type { Cluster as RawCluster, Redis as RawRedis, RedisCommander } from 'ioredis';
import type { ReplyMappingMode } from 'ioredis/built/types.js';
import type { KeySpec } from '../src/keyspec.ts';
import type { CommandName, CommandsOf, CustomRewrite, UndeclaredCommand } from '../src/rules.ts';
import { rules } from '../src/rules.ts';

// The table is complete for the installed ioredis …
rules satisfies Rules<CommandsOf<RedisCommander> | UndeclaredCommand, KeySpec, CustomRewrite>;

// … and an ioredis with one more command does not compile until somebody decides about it.
interface NextCommander extends RedisCommander {
  frobnicate(key: string): Promise<string>;
  frobnicateBuffer(key: string): Promise<Buffer>;
}
// @ts-expect-error -- no row for frobnicate
rules satisfies Rules<CommandsOf<NextCommander> | UndeclaredCommand, KeySpec, CustomRewrite>;

// Nor does a row that is none of the four decisions.
// @ts-expect-error -- get has a row of an unknown kind
({ ...rules, get: { kind: 'allow' } }) satisfies Rules<
  CommandName | UndeclaredCommand,
  KeySpec,
  CustomRewrite
>;

// What takes a client of ioredis takes ours.
declare const redis: Redis;
declare const cluster: Cluster;
redis satisfies RawRedis;
cluster satisfies RawCluster;
Redis satisfies typeof RawRedis;
Default satisfies typeof Redis;
cluster.nodes() satisfies Redis[];
redis.duplicate() satisfies Redis;

// Replies have the types of ioredis.
void (redis.get('key') satisfies Promise<string | null>);
void (redis.getBuffer('key') satisfies Promise<Buffer | null>);
void (redis.multi().get('key').exec() satisfies Promise<[error: Error | null, result: unknown][] | null>);
void (redis.multi({ pipeline: false }) satisfies Promise<'OK'>);
new Redis({ protocol: 3, replyMapping: 'resp3' }) satisfies Redis<'resp3'>;

// Code that is generic over the form of replies takes ours as it takes those of ioredis.
export function generic<M extends ReplyMappingMode>(one: Redis<M>, all: Cluster<M>): void {
  one satisfies RawRedis<M>;
  all satisfies RawCluster<M>;
  one.duplicate() satisfies Redis<M>;
  all.duplicate() satisfies Cluster<M>;
  one.pipeline() satisfies ReturnType<RawRedis<M>['pipeline']>;
  void one.multi().get('key').exec();
  void one.get('key');
}
export function made<M extends ReplyMappingMode>(options: { replyMapping: M }): Redis<M> {
  return new Redis<M>({ protocol: 3, ...options });
}

// Options of ours are few, and no others exist.
({ port: 6379, tenant: { names: 'app:{tenant}:', hashTag: true } }) satisfies RedisOptions;
({ tenant: { names: 'app:{tenant}:' }, redisOptions: { password: 'x' } }) satisfies ClusterOptions;
({ tenant: { place: () => ({ level: 'pool' }) } }) satisfies RedisOptions;
({ tenant: { place: () => ({ level: 'bridge', db: 3 }) } }) satisfies RedisOptions;
({ tenant: { place: () => ({ level: 'silo', url: '', options: { tls: {} } }) } }) satisfies RedisOptions;
({ tenant: { place: () => ({ level: 'silo', nodes: [7000] }) } }) satisfies ClusterOptions;
redis.clientOf('acme') satisfies Redis;
cluster.clientOf('acme') satisfies Cluster;
// @ts-expect-error -- it has to answer, and at once
({ tenant: { place: () => undefined } }) satisfies RedisOptions;
// @ts-expect-error -- how the connection behaves is said in the options of the client
({ tenant: { place: () => ({ level: 'silo', options: { lazyConnect: true } }) } }) satisfies RedisOptions;

// A script is declared to touch nothing but its keys, and there is no other declaration.
const declared = { lua: 'return 1', numberOfKeys: 0, readOnly: true, tenant: 'keys-only' } as const;
redis.defineCommand('one', declared);
cluster.defineCommand('one', declared);
({ scripts: { declared }, tenant: { scripts: [{ sha1: '' }, { function: 'f' }] } }) satisfies RedisOptions;
({ scripts: { declared } }) satisfies ClusterOptions;
// @ts-expect-error -- no such declaration
redis.defineCommand('one', { lua: 'return 1', tenant: 'all' });
// @ts-expect-error -- a script is either a text or a function
({ tenant: { scripts: [{}] } }) satisfies RedisOptions;

import type { Redis } from 'ioredis';
import { HEADER } from '../src/header.ts';

/** A job as it lies in Redis, and where. */
export interface Stored {
  readonly prefix: string;
  readonly queue: string;
  readonly id: string;
  readonly hash: Readonly<Record<string, string>>;
}

/**
 * What the keys begin with among which a genuine job lies: found by looking for the job, since where that is belongs to
 * whoever stores it, and what a hostile writer does is the same everywhere.
 *
 * @param id - the physical id of a job that waits
 */
export async function baseOf(redis: Redis, prefix: string, queue: string, id: string): Promise<string> {
  const found = await redis.keys(`${prefix}:${queue}*:${id}`);
  const [key] = found;
  if (key === undefined || found.length > 1)
    throw new Error(`${found.length} jobs ${id} in ${prefix}:${queue}`);
  return key.slice(0, -id.length);
}

/** Takes a waiting job out of Redis. */
export async function take(redis: Redis, prefix: string, queue: string, id: string): Promise<Stored> {
  const base = await baseOf(redis, prefix, queue, id);
  const hash = await redis.hgetall(base + id);
  const [, removed] =
    (await redis
      .multi()
      .del(base + id)
      .lrem(`${base}wait`, 0, id)
      .exec()) ?? [];
  if (removed?.[1] !== 1) throw new Error(`${id} does not wait`);
  return { prefix, queue, id, hash };
}

/** Puts a job there, with nothing but Redis' own commands. */
export async function put(
  redis: Redis,
  base: string,
  { id, hash }: Pick<Stored, 'id' | 'hash'>,
): Promise<void> {
  await redis
    .multi()
    .hset(base + id, hash)
    .lpush(`${base}wait`, id)
    .exec();
}

/** The job with other fields. */
export const withFields = (job: Stored, fields: Readonly<Record<string, string>>): Stored => ({
  ...job,
  hash: { ...job.hash, ...fields },
});

/** The job without some fields. */
export const without = (job: Stored, ...fields: readonly string[]): Stored => ({
  ...job,
  hash: Object.fromEntries(Object.entries(job.hash).filter(([field]) => !fields.includes(field))),
});

/** The options of a job as they are stored, the header among them. */
export const optionsOf = ({ hash }: Stored): Record<string, unknown> =>
  JSON.parse(hash['opts'] ?? '') as Record<string, unknown>;

/** The job with some options changed; one that is `undefined` is left out. */
export const withOptions = (job: Stored, changed: Readonly<Record<string, unknown>>): Stored =>
  withFields(job, { opts: JSON.stringify({ ...optionsOf(job), ...changed }) });

/** The four parts of a job's header. */
export const partsOf = (job: Stored): string[] => String(optionsOf(job)[HEADER]).split('.');

/** The job with another header. */
export const withHeader = (job: Stored, header: unknown): Stored => withOptions(job, { [HEADER]: header });

/** The job with some parts of its header exchanged: version, key id, claims, signature. */
export const withParts = (job: Stored, parts: Readonly<Partial<Record<0 | 1 | 2 | 3, string>>>): Stored =>
  withHeader(job, Object.assign(partsOf(job), parts).join('.'));

/** The job with one of its claims exchanged, and the rest of the header kept. */
export const withClaim = (job: Stored, at: number, value: unknown): Stored => {
  const claims = JSON.parse(Buffer.from(partsOf(job)[2] ?? '', 'base64url').toString()) as unknown[];
  claims[at] = value;
  return withParts(job, { 2: Buffer.from(JSON.stringify(claims)).toString('base64url') });
};

/** The job with one bit of its signature turned. */
export const withBit = (job: Stored, bit: number): Stored => {
  const bytes = Buffer.from(partsOf(job)[3] ?? '', 'base64url');
  const at = Math.floor(bit / 8) % bytes.length;
  bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit % 8));
  return withParts(job, { 3: bytes.toString('base64url') });
};

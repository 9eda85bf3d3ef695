import { SignatureError } from '@tenantkit/core';
import type { Redis } from 'ioredis';
import { HEADER } from './header.ts';
import type { QueueKeyspace } from './places.ts';
import type { RawRedis } from './raw-redis.ts';
import { verifyTemplate } from './schedulers/template.ts';
import { parseOptions, verifyJob, type JobHash, type Verifier } from './verify.ts';

/** A person of a tenant. */
export interface Person {
  readonly tenant: string;
  readonly subject: string;
}

/** One call of the eraser about a person, in one queue. */
export interface PersonWork {
  readonly raw: RawRedis;
  readonly queue: QueueKeyspace;
  /** What the keys of the tenant's lane begin with. */
  readonly base: string;
  readonly person: Person;
  readonly signal?: AbortSignal | undefined;
}

/** Whom something is about: `unknown` when its header does not verify, and does not name the person either. */
export type About = 'theirs' | 'others' | 'unknown';

/** What is read of a job that is only asked whom its header names. */
const SHORT = ['opts', 'deid'] as const;

/** How many hashes are read at once: data may be large, and none of it is kept. */
export const READ = 100;

/**
 * Whether a header names the person, verified or not: what somebody has altered and still says so is not missed, and
 * what is removed wrongly by that never runs.
 *
 * @param opts - the options of a job, as they are stored
 */
export function names(opts: string | undefined, { tenant, subject }: Person): boolean {
  try {
    const header = parseOptions(opts)[HEADER];
    const [, , claims = ''] = typeof header === 'string' ? header.split('.') : [];
    const said: unknown = JSON.parse(Buffer.from(claims, 'base64url').toString());
    return Array.isArray(said) && said[0] === tenant && said[1] === subject;
  } catch {
    // No header, or one that nobody can read: it names nobody.
    return false;
  }
}

/** Whom a stored job is about. */
export function aboutJob(verifier: Verifier, person: Person, hash: JobHash, id: string): About {
  return about(person, hash, () => verifyJob(verifier, hash, id, person.tenant));
}

/** Whom a stored scheduler is about. */
export function aboutScheduler(verifier: Verifier, person: Person, hash: JobHash, id: string): About {
  return about(person, hash, () => verifyTemplate(verifier, hash, id, person.tenant));
}

function about(person: Person, hash: JobHash, verify: () => unknown): About {
  if (names(hash['opts'], person)) return 'theirs';
  try {
    verify();
    return 'others';
  } catch (error) {
    if (error instanceof SignatureError) return 'unknown';
    throw error;
  }
}

/**
 * Reads hashes in the order of their keys; of what is gone, or is no hash, there is an empty one.
 *
 * @param isWhole - all fields, and not only those by which a person is named
 */
export async function readHashes(
  raw: RawRedis,
  keys: readonly string[],
  isWhole: boolean,
): Promise<readonly JobHash[]> {
  if (isWhole) {
    const hashes = await pipelined(raw, keys, (pipeline, key) => pipeline.hgetall(key));
    return hashes.map((hash) => Object(hash) as JobHash);
  }
  const rows = await pipelined(raw, keys, (pipeline, key) => pipeline.hmget(key, ...SHORT));
  return rows.map((row) => {
    const values: readonly unknown[] = Array.isArray(row) ? row : [];
    const hash: Record<string, string> = Object.create(null);
    for (const [at, field] of SHORT.entries()) {
      const value = values[at];
      if (typeof value === 'string') hash[field] = value;
    }
    return hash;
  });
}

/** Asks the same of each, in one go; `undefined` where the server has answered with an error. */
export async function pipelined<T>(
  raw: RawRedis,
  asked: readonly T[],
  ask: (pipeline: ReturnType<Redis['pipeline']>, one: T) => unknown,
): Promise<readonly unknown[]> {
  if (asked.length === 0) return [];
  const replies = await raw.run((redis) => {
    const pipeline = redis.pipeline();
    for (const one of asked) ask(pipeline, one);
    return pipeline.exec();
  });
  return asked.map((_, at) => {
    const [error, answer] = replies?.[at] ?? [null];
    return error === null ? answer : undefined;
  });
}

/** In pieces of at most so many. */
export function* pieces<T>(all: readonly T[], most: number): Generator<readonly T[]> {
  for (let at = 0; at < all.length; at += most) yield all.slice(at, at + most);
}

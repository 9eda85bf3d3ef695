import { parseOptions } from '@tenantkit/core';
import { z } from 'zod';
import { DEFAULT_PREFIX } from './client.ts';

/** Options of {@link queueBackstop}. */
export interface QueueBackstopOptions {
  /** The Redis user that queues and workers log in as. */
  readonly user: string;
  /** BullMQ's key prefix, default `bull`. */
  readonly prefix?: string;
  /** The queues that the user may touch; all of the prefix when left out. */
  readonly queues?: readonly string[];
}

/** What the server can enforce, and what it cannot. */
export interface QueueBackstop {
  /**
   * The arguments of `ACL SETUSER`, the user first. It has no password yet and is off: add `>password` (or
   * `#<sha256>`) and `on`.
   */
  readonly rules: readonly string[];
  readonly enforced: readonly string[];
  readonly notEnforced: readonly string[];
}

const NAME = /^[^\s*?[\]\\^~%&]+$/;

const schema = z.strictObject({
  user: z.string().regex(/^[A-Za-z0-9_.@-]{1,64}$/, 'must be 1 to 64 characters of A-Z a-z 0-9 _ . @ -'),
  prefix: z.string().regex(NAME, 'holds a space or a character of a pattern').optional(),
  queues: z.array(z.string().regex(NAME, 'holds a space or a character of a pattern')).min(1).optional(),
});

/**
 * What BullMQ’s clients and scripts call, and nothing else: a script runs with the rights of the user that calls
 * it. A test runs queues and workers as this user.
 */
const COMMANDS = [
  '+@connection',
  '-client',
  '+client|setname',
  '+client|id',
  // Wakes a QueueEvents that has other tenants to listen to.
  '+client|unblock',
  // On a cluster: which server has a key, for clients, erasers and auditors.
  '+cluster|slots',
  '+cluster|info',
  '+cluster|keyslot',
  '+cluster|nodes',
  '+time',
  '+info',
  '+multi',
  '+exec',
  '+discard',
  '+eval',
  '+evalsha',
  '+script|load',
  '+script|exists',
  '+exists',
  '+del',
  '+unlink',
  '+type',
  '+pttl',
  '+pexpire',
  '+persist',
  '+scan',
  '+get',
  '+set',
  '+incr',
  '+decr',
  '+hset',
  '+hmset',
  '+hget',
  '+hmget',
  '+hgetall',
  '+hdel',
  '+hexists',
  '+hincrby',
  '+lpush',
  '+rpush',
  '+lrange',
  '+lrem',
  '+llen',
  '+lindex',
  '+lpos',
  '+ltrim',
  '+rpoplpush',
  '+lset',
  '+sadd',
  '+srem',
  '+smembers',
  '+scard',
  '+sismember',
  '+sscan',
  '+zadd',
  '+zrem',
  '+zscore',
  '+zcard',
  '+zcount',
  '+zrange',
  '+zrevrange',
  '+zrangebyscore',
  '+zrevrangebyscore',
  '+zremrangebyscore',
  '+zremrangebyrank',
  '+zscan',
  '+zpopmin',
  '+bzpopmin',
  '+xadd',
  '+xlen',
  '+xtrim',
  '+xread',
  '+xrange',
  '+xrevrange',
  '+xdel',
] as const;

/**
 * The Redis ACL of queues and workers. Unlike in a cache, the server cannot tell tenants apart here: one worker
 * has to read the lanes of all of them. What separates them is the signature; the
 * ACL keeps everybody else from writing to the queue, and the queue’s users from everything else.
 *
 * @throws {@link ConfigError} when a name could be read as a pattern
 *
 * @example
 * ```ts
 * import { queueBackstop } from '@tenantkit/queue';
 * const { rules } = queueBackstop({ user: 'mail-workers', queues: ['mail'] });
 * await admin.call('ACL', 'SETUSER', ...rules, '>a long password', 'on');
 * ```
 */
export function queueBackstop(options: QueueBackstopOptions): QueueBackstop {
  const { user, prefix = DEFAULT_PREFIX, queues } = parseOptions('queue', schema, options);
  // The queue itself, its lanes, and what says where there is work.
  const patterns = queues?.flatMap((queue) => [`~${prefix}:${queue}:*`, `~${prefix}:${queue}~*`]) ?? [
    `~${prefix}:*`,
  ];
  return {
    rules: [user, 'reset', ...patterns, '-@all', ...COMMANDS],
    enforced: [
      'keys outside of the named queues are neither read nor written, by scripts either',
      'no command that BullMQ does not need: no KEYS, FLUSHALL, CONFIG, ACL, MONITOR, FUNCTION, pub/sub',
    ],
    notEnforced: [
      'one tenant from another inside a queue: only the signed header does that',
      'RESET, which no ACL can forbid, turns a connection into the user `default`: switch that user off',
      'keys of the same names in the other databases of the server: an ACL knows no databases',
      'SCAN sees the names of all keys of the database, though not their content',
      'whoever has this password can remove, delay or repeat jobs, though not forge or alter one',
    ],
  };
}

import { custom, defineRules, pass, refuse, rewrite, type Rule, type Rules } from '@tenantkit/core';
import type { RedisCommander } from 'ioredis';
import type { KeySpec } from './keyspec.ts';

/** The commands of an interface of ioredis: its methods, without the `Buffer` twins and `call`. */
export type CommandsOf<Commander> = Exclude<keyof Commander & string, `${string}Buffer` | 'call'>;

/** Every command that the types of the installed ioredis know. */
export type CommandName = CommandsOf<RedisCommander>;

/** Commands that ioredis can send, or that a server has, and that its types do not list. */
export type UndeclaredCommand =
  | 'backup'
  | 'bless'
  | 'delex'
  | 'digest'
  | 'hotkeys'
  | 'monitor'
  | 'multi'
  | 'restore-asking'
  | 'sentinel'
  | 'trimslots'
  | 'waitaof'
  | 'xackdel'
  | 'xcfgset'
  | 'xidmprecord';

/** Rows of a command that is only a name for its subcommands; '' is the call without any. */
export interface Container {
  readonly subcommands: Readonly<Record<string, Rule<KeySpec, CustomName>>>;
}

/** A rewriting of its own, by its name. */
export type CustomName = 'scan' | 'walk' | 'publish' | 'subscription' | 'listing' | 'counting';

/** A rewriting of its own: the scan of the keyspace, a walk over the keys of the tenant, channels, or a container. */
export type CustomRewrite = CustomName | Container;

/** One row of the table. */
export type CacheRule = Rule<KeySpec, CustomRewrite>;

// Where keys stand.
const KEY = rewrite<KeySpec>({ at: [{ from: 0, to: 0, step: 1 }] });
const TWO_KEYS = rewrite<KeySpec>({ at: [{ from: 0, to: 1, step: 1 }] });
const KEYS = rewrite<KeySpec>({ at: [{ from: 0, to: -1, step: 1 }] });
const KEYS_AND_VALUES = rewrite<KeySpec>({ at: [{ from: 0, to: -1, step: 2 }] });
const KEYS_AFTER_OPERATION = rewrite<KeySpec>({ at: [{ from: 1, to: -1, step: 1 }] });
const KEY_AFTER_SUBCOMMAND = rewrite<KeySpec>({ at: [{ from: 1, to: 1, step: 1 }] });
const COUNTED = rewrite<KeySpec>({ at: [], counted: 0 });
const TARGET_AND_COUNTED = rewrite<KeySpec>({ at: [{ from: 0, to: 0, step: 1 }], counted: 1 });
const POP_COUNTED = rewrite<KeySpec>({ at: [], counted: 0, reply: 'first' });
const BLOCKING_POP = rewrite<KeySpec>({ at: [{ from: 0, to: -2, step: 1 }], reply: 'first' });
const BLOCKING_POP_COUNTED = rewrite<KeySpec>({ at: [], counted: 1, reply: 'first' });
// COPY takes DB: a tenant's data must not leave the database that its eraser walks.
const COPY = rewrite<KeySpec>({ at: [{ from: 0, to: 1, step: 1 }], tail: ['replace'] });

// Answered by walking the keys of the tenant: see WALKS.
const WALK = custom<CustomRewrite>('walk');

// Keys of a script; which scripts may run is decided by `Scripts`.
const RUN = rewrite<KeySpec>({ at: [], counted: 1, orNone: true });

// Why commands are refused, and what to use instead.
const OPERATOR = refuse(
  'it reads or changes the server of all tenants',
  'It is an operator’s: call it inside acrossTenants({ reason, actor }, () => …).',
);
const CONNECTION = refuse(
  'it changes the connection that all tenants share',
  'Set it in the options of the client, or open a client of plain ioredis for it.',
);
const TRANSACTION = refuse(
  'on a shared connection a transaction would swallow the commands of other tenants',
  'Use redis.multi(), which sends the whole transaction at once.',
);
const WATCHING = refuse(
  'on a shared connection what is watched belongs to nobody',
  'Use a command that compares and sets by itself, such as SET … NX, or a value that names its version.',
);
const FUNCTIONS = refuse(
  'functions are those of all tenants, and one that is loaded could reach the keys of each',
  'Load them inside acrossTenants({ reason, actor }, () => …) when the service is rolled out, and call those that are listed in the option tenant.scripts.',
);
const SCRIPTS = refuse(
  'the scripts that a server keeps and runs are those of all tenants',
  'It is an operator’s: call it inside acrossTenants({ reason, actor }, () => …).',
);
const PUBLISH = custom('publish' as const);
// The connection that hears messages is one of its own, and which commands it gets follows from what all tenants want.
const SUBSCRIPTION = custom('subscription' as const);
const LISTING = custom('listing' as const);
const COUNTING = custom('counting' as const);
const STREAM = refuse(
  'streams are not scoped to a tenant yet',
  'Streams are refused today; use @tenantkit/queue for work, or lists and sorted sets.',
);
const OTHER_DATABASE = refuse(
  'it moves data to where this tenant’s eraser and auditor do not look',
  'Keep a tenant in one database; open a client with the option db for another one.',
);
const SORT = refuse(
  'BY and GET build the names of further keys out of patterns and of stored values',
  'SORT is refused today; read the elements and sort them here, or keep them in a sorted set.',
);
const GEO_STORE = refuse(
  'it may store under a key that stands behind options',
  'Use GEOSEARCH, and GEOSEARCHSTORE to store; they replace it from Redis 6.2.',
);
const SERIALIZED = refuse(
  'a serialized value is not bound to the tenant that it was taken from',
  'Copy inside the tenant with COPY; DUMP and RESTORE are refused today.',
);
const REPLICATION = refuse(
  'it belongs to the protocol between servers and shows the data of every tenant',
  'No client needs it.',
);
const NEWER = refuse(
  'it is newer than Redis 7.0, on which every allowed command is tested',
  'It is refused today; use the commands of Redis 7.0.',
);
const MODULE_TYPE = refuse(
  'vector sets and arrays are newer than Redis 7.0, on which every allowed command is tested',
  'They are refused today; keep vectors in @tenantkit/search.',
);
const INTERNAL = refuse('it is a tool for developers of Redis', 'No application needs it.');

const NAMES_NOTHING = pass('it names nothing that is stored');
const DESCRIBES = pass('it describes the commands of the server');

/**
 * One row per command: where its keys stand, that it names none, or why it is refused. It is closed against the
 * types of ioredis, so that an ioredis with a further command does not compile until somebody decides about it.
 */
export const rules = defineRules({
  // Texts, numbers, bits, HyperLogLogs
  append: KEY,
  bitcount: KEY,
  bitfield: KEY,
  bitfield_ro: KEY,
  bitop: KEYS_AFTER_OPERATION,
  bitpos: KEY,
  decr: KEY,
  decrby: KEY,
  delex: NEWER,
  digest: NEWER,
  get: KEY,
  getbit: KEY,
  getdel: KEY,
  getex: KEY,
  getrange: KEY,
  getset: KEY,
  incr: KEY,
  incrby: KEY,
  incrbyfloat: KEY,
  increx: NEWER,
  lcs: TWO_KEYS,
  mget: KEYS,
  mset: KEYS_AND_VALUES,
  msetex: NEWER,
  msetnx: KEYS_AND_VALUES,
  pfadd: KEY,
  pfcount: KEYS,
  pfdebug: INTERNAL,
  pfmerge: KEYS,
  pfselftest: INTERNAL,
  psetex: KEY,
  set: KEY,
  setbit: KEY,
  setex: KEY,
  setnx: KEY,
  setrange: KEY,
  strlen: KEY,
  substr: KEY,

  // Hashes
  hdel: KEY,
  hexists: KEY,
  hexpire: NEWER,
  hexpireat: NEWER,
  hexpiretime: NEWER,
  hget: KEY,
  hgetall: KEY,
  hgetdel: NEWER,
  hgetex: NEWER,
  himport: NEWER,
  hincrby: KEY,
  hincrbyfloat: KEY,
  hkeys: KEY,
  hlen: KEY,
  hmget: KEY,
  hmset: KEY,
  hpersist: NEWER,
  hpexpire: NEWER,
  hpexpireat: NEWER,
  hpexpiretime: NEWER,
  hpttl: NEWER,
  hrandfield: KEY,
  hscan: KEY,
  hset: KEY,
  hsetex: NEWER,
  hsetnx: KEY,
  hstrlen: KEY,
  httl: NEWER,
  hvals: KEY,

  // Sets
  sadd: KEY,
  scard: KEY,
  sdiff: KEYS,
  sdiffcard: NEWER,
  sdiffstore: KEYS,
  sinter: KEYS,
  sintercard: COUNTED,
  sinterstore: KEYS,
  sismember: KEY,
  smembers: KEY,
  smismember: KEY,
  smove: TWO_KEYS,
  spop: KEY,
  srandmember: KEY,
  srem: KEY,
  sscan: KEY,
  sunion: KEYS,
  sunioncard: NEWER,
  sunionstore: KEYS,

  // Sorted sets and places on the globe
  bzmpop: BLOCKING_POP_COUNTED,
  bzpopmax: BLOCKING_POP,
  bzpopmin: BLOCKING_POP,
  geoadd: KEY,
  geodist: KEY,
  geohash: KEY,
  geopos: KEY,
  georadius: GEO_STORE,
  georadius_ro: KEY,
  georadiusbymember: GEO_STORE,
  georadiusbymember_ro: KEY,
  geosearch: KEY,
  geosearchstore: TWO_KEYS,
  zadd: KEY,
  zcard: KEY,
  zcount: KEY,
  zdiff: COUNTED,
  zdiffstore: TARGET_AND_COUNTED,
  zincrby: KEY,
  zinter: COUNTED,
  zintercard: COUNTED,
  zinterstore: TARGET_AND_COUNTED,
  zlexcount: KEY,
  zmpop: POP_COUNTED,
  zmscore: KEY,
  zpopmax: KEY,
  zpopmin: KEY,
  zrandmember: KEY,
  zrange: KEY,
  zrangebylex: KEY,
  zrangebyscore: KEY,
  zrangestore: TWO_KEYS,
  zrank: KEY,
  zrem: KEY,
  zremrangebylex: KEY,
  zremrangebyrank: KEY,
  zremrangebyscore: KEY,
  zrevrange: KEY,
  zrevrangebylex: KEY,
  zrevrangebyscore: KEY,
  zrevrank: KEY,
  zscan: KEY,
  zscore: KEY,
  zunion: COUNTED,
  zunionstore: TARGET_AND_COUNTED,

  // Lists
  blmove: TWO_KEYS,
  blmovem: NEWER,
  blmpop: BLOCKING_POP_COUNTED,
  blpop: BLOCKING_POP,
  brpop: BLOCKING_POP,
  brpoplpush: TWO_KEYS,
  lindex: KEY,
  linsert: KEY,
  llen: KEY,
  lmove: TWO_KEYS,
  lmovem: NEWER,
  lmpop: POP_COUNTED,
  lpop: KEY,
  lpos: KEY,
  lpush: KEY,
  lpushx: KEY,
  lrange: KEY,
  lrem: KEY,
  lset: KEY,
  ltrim: KEY,
  rpop: KEY,
  rpoplpush: TWO_KEYS,
  rpush: KEY,
  rpushx: KEY,

  // Keys of any type
  copy: COPY,
  del: KEYS,
  dump: SERIALIZED,
  exists: KEYS,
  expire: KEY,
  expireat: KEY,
  expiretime: KEY,
  flushall: WALK,
  flushdb: WALK,
  dbsize: WALK,
  keys: WALK,
  migrate: OTHER_DATABASE,
  move: OTHER_DATABASE,
  object: custom({
    subcommands: defineRules({
      encoding: KEY_AFTER_SUBCOMMAND,
      freq: KEY_AFTER_SUBCOMMAND,
      help: DESCRIBES,
      idletime: KEY_AFTER_SUBCOMMAND,
      refcount: KEY_AFTER_SUBCOMMAND,
    }),
  }),
  persist: KEY,
  pexpire: KEY,
  pexpireat: KEY,
  pexpiretime: KEY,
  pttl: KEY,
  randomkey: WALK,
  rename: TWO_KEYS,
  renamenx: TWO_KEYS,
  restore: SERIALIZED,
  'restore-asking': SERIALIZED,
  scan: custom('scan'),
  sort: SORT,
  sort_ro: SORT,
  swapdb: OTHER_DATABASE,
  touch: KEYS,
  ttl: KEY,
  type: KEY,
  unlink: KEYS,

  // Streams
  xack: STREAM,
  xackdel: STREAM,
  xadd: STREAM,
  xautoclaim: STREAM,
  xcfgset: STREAM,
  xclaim: STREAM,
  xdel: STREAM,
  xdelex: STREAM,
  xgroup: STREAM,
  xidmprecord: STREAM,
  xinfo: STREAM,
  xlen: STREAM,
  xnack: STREAM,
  xpending: STREAM,
  xrange: STREAM,
  xread: STREAM,
  xreadgroup: STREAM,
  xrevrange: STREAM,
  xsetid: STREAM,
  xtrim: STREAM,

  // Publish and subscribe
  psubscribe: SUBSCRIPTION,
  publish: PUBLISH,
  pubsub: custom({
    subcommands: defineRules({
      channels: LISTING,
      help: DESCRIBES,
      numpat: refuse(
        'it counts the patterns of every tenant',
        'psubscribe and punsubscribe answer how many channels and patterns this tenant has on this client.',
      ),
      numsub: COUNTING,
      shardchannels: LISTING,
      shardnumsub: COUNTING,
    }),
  }),
  punsubscribe: SUBSCRIPTION,
  spublish: PUBLISH,
  ssubscribe: SUBSCRIPTION,
  subscribe: SUBSCRIPTION,
  sunsubscribe: SUBSCRIPTION,
  unsubscribe: SUBSCRIPTION,

  // Scripts and functions
  eval: RUN,
  eval_ro: RUN,
  evalsha: RUN,
  evalsha_ro: RUN,
  fcall: RUN,
  fcall_ro: RUN,
  function: custom({
    subcommands: defineRules({
      delete: FUNCTIONS,
      dump: FUNCTIONS,
      flush: FUNCTIONS,
      help: DESCRIBES,
      kill: FUNCTIONS,
      list: FUNCTIONS,
      load: FUNCTIONS,
      restore: FUNCTIONS,
      stats: FUNCTIONS,
    }),
  }),
  script: custom({
    subcommands: defineRules({
      debug: SCRIPTS,
      exists: pass('it asks for scripts that are declared safe'),
      flush: SCRIPTS,
      help: DESCRIBES,
      kill: SCRIPTS,
      load: pass('it loads a script that is declared safe, and runs nothing'),
    }),
  }),

  // Transactions
  discard: TRANSACTION,
  exec: TRANSACTION,
  multi: TRANSACTION,
  unwatch: WATCHING,
  watch: WATCHING,

  // The connection
  asking: CONNECTION,
  auth: CONNECTION,
  client: CONNECTION,
  echo: NAMES_NOTHING,
  hello: CONNECTION,
  ping: NAMES_NOTHING,
  quit: pass('it ends the connection, as disconnect() does'),
  readonly: CONNECTION,
  readwrite: CONNECTION,
  reset: CONNECTION,
  select: CONNECTION,

  // The server
  acl: OPERATOR,
  backup: OPERATOR,
  bgrewriteaof: OPERATOR,
  bgsave: OPERATOR,
  bless: NEWER,
  cluster: OPERATOR,
  command: custom({
    subcommands: defineRules({
      '': DESCRIBES,
      count: DESCRIBES,
      docs: DESCRIBES,
      getkeys: DESCRIBES,
      getkeysandflags: DESCRIBES,
      help: DESCRIBES,
      info: DESCRIBES,
      list: DESCRIBES,
    }),
  }),
  config: OPERATOR,
  debug: OPERATOR,
  failover: OPERATOR,
  hotkeys: OPERATOR,
  info: OPERATOR,
  lastsave: OPERATOR,
  latency: OPERATOR,
  lolwut: NAMES_NOTHING,
  memory: custom({
    subcommands: defineRules({
      doctor: OPERATOR,
      help: DESCRIBES,
      'malloc-stats': OPERATOR,
      purge: OPERATOR,
      stats: OPERATOR,
      usage: KEY_AFTER_SUBCOMMAND,
    }),
  }),
  module: OPERATOR,
  monitor: refuse('it shows the commands of every tenant', 'Use a client of plain ioredis for it.'),
  psync: REPLICATION,
  replconf: REPLICATION,
  replicaof: OPERATOR,
  role: OPERATOR,
  save: OPERATOR,
  sentinel: OPERATOR,
  shutdown: OPERATOR,
  slaveof: OPERATOR,
  slowlog: OPERATOR,
  sync: REPLICATION,
  time: NAMES_NOTHING,
  trimslots: OPERATOR,
  wait: pass('it waits for replicas and names nothing that is stored'),
  waitaof: NEWER,

  // Types that are newer
  arcount: MODULE_TYPE,
  ardel: MODULE_TYPE,
  ardelrange: MODULE_TYPE,
  arget: MODULE_TYPE,
  argetrange: MODULE_TYPE,
  argrep: MODULE_TYPE,
  arinfo: MODULE_TYPE,
  arinsert: MODULE_TYPE,
  arlastitems: MODULE_TYPE,
  arlen: MODULE_TYPE,
  armget: MODULE_TYPE,
  armset: MODULE_TYPE,
  arnext: MODULE_TYPE,
  arop: MODULE_TYPE,
  arring: MODULE_TYPE,
  arscan: MODULE_TYPE,
  arseek: MODULE_TYPE,
  arset: MODULE_TYPE,
  vadd: MODULE_TYPE,
  vcard: MODULE_TYPE,
  vdim: MODULE_TYPE,
  vemb: MODULE_TYPE,
  vgetattr: MODULE_TYPE,
  vinfo: MODULE_TYPE,
  vismember: MODULE_TYPE,
  vlinks: MODULE_TYPE,
  vrandmember: MODULE_TYPE,
  vrange: MODULE_TYPE,
  vrem: MODULE_TYPE,
  vsetattr: MODULE_TYPE,
  vsim: MODULE_TYPE,
} satisfies Rules<CommandName | UndeclaredCommand, KeySpec, CustomRewrite>);

/**
 * Commands that work outside of any tenant too, since they name nothing and a service needs them there: a health
 * check, the end of the connection, and the scripts that a library loads when it starts.
 */
export const ANYWHERE: ReadonlySet<string> = new Set(['ping', 'quit', 'script exists', 'script load']);

/**
 * Commands that run, load or ask for scripts: only for those that are declared safe. What a script does with keys
 * that it does not declare is hidden from the table.
 */
export const SCRIPTING: ReadonlySet<string> = new Set([
  'eval',
  'eval_ro',
  'evalsha',
  'evalsha_ro',
  'fcall',
  'fcall_ro',
  'script exists',
  'script load',
]);

/**
 * Commands that the server answers when it pleases. On a connection that all tenants share everybody waits with
 * the caller, so they are for a connection that a tenant has made with `duplicate()`; inside of a transaction
 * they do not wait.
 */
export const BLOCKING: ReadonlySet<string> = new Set([
  'blmove',
  'blmpop',
  'blpop',
  'brpop',
  'brpoplpush',
  'bzmpop',
  'bzpopmax',
  'bzpopmin',
  'wait',
]);

/** Commands that end the connection: inside a tenant, only that tenant's own. */
export const ENDING: ReadonlySet<string> = new Set(['quit']);

/**
 * Refused even inside acrossTenants: on the connection that all tenants share, an open transaction swallows their
 * commands, another database or user gets their next write, and a reply that is switched off or pushed shifts
 * their replies to the wrong callers. `client reply` is the subcommand.
 */
export const SHARED_CONNECTION: ReadonlySet<string> = new Set([
  'asking',
  'auth',
  'client caching',
  'client no-evict',
  'client no-touch',
  'client reply',
  'client setname',
  'client tracking',
  'discard',
  'exec',
  'hello',
  'monitor',
  'multi',
  'psync',
  'readonly',
  'readwrite',
  'replconf',
  'reset',
  'select',
  'sync',
  'unwatch',
  'watch',
]);

/** The row of a command in any letter case; `undefined` means that it has none and is refused. */
export function ruleOf(name: string): CacheRule | undefined {
  const table: Readonly<Record<string, CacheRule>> = rules;
  return table[name.toLowerCase()];
}

import { custom, defineRules, pass, refuse, rewrite, type Rule, type Rules } from '@tenantkit/core';
import type { RedisCommander } from 'ioredis';
import type { KeySpec } from './keyspec.ts';
import { ARRAYS_AND_VECTORS, LISTS, SORTED_SETS } from './rules/collections.ts';
import { MODULES } from './rules/modules.ts';
import { KEY, KEYS, KEY_AFTER_SUBCOMMAND, SOURCE_AND_TARGET, words } from './rules/places.ts';
import { STREAMS } from './rules/streams.ts';
import { HASHES, SETS, STRINGS } from './rules/values.ts';

/** The commands of an interface of ioredis: its methods, without the `Buffer` twins and `call`. */
export type CommandsOf<Commander> = Exclude<keyof Commander & string, `${string}Buffer` | 'call'>;

/** Every command that the types of the installed ioredis know. */
export type CommandName = CommandsOf<RedisCommander>;

/** Commands that ioredis can send, or that a server has, and that its types do not list. */
export type UndeclaredCommand =
  | keyof typeof MODULES
  | 'backup'
  | 'bless'
  | 'clusterscan'
  | 'commandlog'
  | 'delex'
  | 'delifeq'
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

// COPY takes DB: a tenant's data must not leave the database that its eraser walks.
const COPY = rewrite<KeySpec>({
  ...SOURCE_AND_TARGET.rewrite,
  options: { from: 2, words: words({ replace: 0 }) },
});
const SORT_OPTIONS = { alpha: 0, asc: 0, by: 'pattern', desc: 0, get: 'pattern', limit: 2 } as const;
const SORT = rewrite<KeySpec>({
  at: [{ from: 0, to: 0, step: 1 }],
  options: { from: 1, words: words({ ...SORT_OPTIONS, store: 'target' }) },
});
const SORT_READ = rewrite<KeySpec>({
  at: [{ from: 0, to: 0, step: 1 }],
  options: { from: 1, words: words(SORT_OPTIONS) },
});

// Answered by walking the keys of the tenant: see WALKS.
const WALK = custom<CustomRewrite>('walk');

// Keys of a script; which scripts may run is decided by `Scripts`.
const RUN = rewrite<KeySpec>({ at: [], counted: 1, countedCreates: true, orNone: true });
const RUN_READ = rewrite<KeySpec>({ at: [], counted: 1, orNone: true });

// Why commands are refused, and what to use instead.
const OPERATOR = refuse(
  'it reads or changes the server of all tenants',
  'It is an operator’s: call it inside acrossTenants({ reason, actor }, () => …).',
);
const CONNECTION = refuse(
  'it changes the connection that all tenants share',
  'Set it in the options of the client, or open a client of plain ioredis for it.',
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
const EVERY_KEY = refuse(
  'it covers the keys of every tenant',
  'Use SCAN or scanStream, which see the keys of this tenant only.',
);
const OTHER_DATABASE = refuse(
  'it moves data to where this tenant’s eraser and auditor do not look',
  'Keep a tenant in one database; open a client with the option db for another one.',
);
const SERIALIZED = refuse(
  'the server builds a value out of bytes that it does not check unless it is told to, and a forged one harms everybody',
  'Copy inside the tenant with COPY, or write the value anew with the commands of its type.',
);
const REPLICATION = refuse(
  'it belongs to the protocol between servers and shows the data of every tenant',
  'No client needs it.',
);
const UNDOCUMENTED = refuse(
  'where its keys stand is not documented',
  'Use the commands that are documented for the type.',
);

const NAMES_NOTHING = pass('it names nothing that is stored');
const HELD = pass('it is about the transaction of a connection of one’s own');
const DESCRIBES = pass('it describes the commands of the server');

/**
 * One row per command: where its keys stand, that it names none, or why it is refused. It is closed against the
 * types of ioredis, so that an ioredis with a further command does not compile until somebody decides about it.
 */
export const rules = defineRules({
  ...STRINGS,
  ...HASHES,
  ...SETS,
  ...SORTED_SETS,
  ...LISTS,
  ...STREAMS,
  ...ARRAYS_AND_VECTORS,
  ...MODULES,

  // Keys of any type
  copy: COPY,
  del: KEYS,
  dump: KEY,
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
  rename: SOURCE_AND_TARGET,
  renamenx: SOURCE_AND_TARGET,
  restore: SERIALIZED,
  'restore-asking': SERIALIZED,
  scan: custom('scan'),
  sort: SORT,
  sort_ro: SORT_READ,
  swapdb: OTHER_DATABASE,
  touch: KEYS,
  ttl: KEY,
  type: KEY,
  unlink: KEYS,

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
  eval_ro: RUN_READ,
  evalsha: RUN,
  evalsha_ro: RUN_READ,
  fcall: RUN,
  fcall_ro: RUN_READ,
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
      show: SCRIPTS,
    }),
  }),

  // Transactions
  discard: HELD,
  exec: HELD,
  multi: HELD,
  unwatch: HELD,
  watch: KEYS,

  // The connection
  asking: CONNECTION,
  auth: refuse(
    'it changes as whom all tenants are connected',
    'Where no tenant runs write redis.options.password (and username), which every new connection reads; then call auth() with exactly these.',
  ),
  client: CONNECTION,
  echo: NAMES_NOTHING,
  hello: CONNECTION,
  ping: NAMES_NOTHING,
  quit: pass('it ends the connection, as disconnect() does'),
  readonly: CONNECTION,
  readwrite: CONNECTION,
  reset: CONNECTION,
  select: OTHER_DATABASE,

  // The server
  acl: OPERATOR,
  backup: OPERATOR,
  bgrewriteaof: OPERATOR,
  bgsave: OPERATOR,
  bless: UNDOCUMENTED,
  cluster: OPERATOR,
  clusterscan: EVERY_KEY,
  commandlog: OPERATOR,
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
  waitaof: pass('it waits for disks and names nothing that is stored'),
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
 * Commands that the server answers when it pleases; those that do so by an option (`XREAD BLOCK`) say it in their
 * row. On a connection that all tenants share everybody waits with
 * the caller, so they are for a connection that a tenant has made with `duplicate()`; inside of a transaction
 * they do not wait.
 */
export const BLOCKING: ReadonlySet<string> = new Set([
  'blmove',
  'blmovem',
  'blmpop',
  'blpop',
  'brpop',
  'brpoplpush',
  'bzmpop',
  'bzpopmax',
  'bzpopmin',
  'wait',
  'waitaof',
]);

/**
 * Commands about what the connection itself holds, watched keys and an open transaction: they are for one of a
 * tenant's own, which dedicated() lends and duplicate() makes.
 */
export const HOLDING: ReadonlySet<string> = new Set(['discard', 'exec', 'multi', 'unwatch', 'watch']);

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

import type { AllowedScript } from '@tenantkit/cache';
import { createHash } from 'node:crypto';
import type { Redis as Raw } from 'ioredis';

/** A key of every type, each with a value that says whose it is. */
export function seeds(owner: string): readonly (readonly [string, ...(string | number)[]])[] {
  return [
    ['set', 'text', `text of ${owner}`],
    ['set', 'text2', `other text of ${owner}`],
    ['set', 'number', owner.length],
    ['set', 'brief', `brief of ${owner}`, 'EX', 1000],
    ['hset', 'hash', 'field', `field of ${owner}`, 'count', owner.length],
    ['sadd', 'set', 'both', `member of ${owner}`],
    ['sadd', 'set2', 'both', `member2 of ${owner}`],
    ['sadd', 'single', `only of ${owner}`],
    ['zadd', 'sorted', 1, 'both', 2, `member of ${owner}`],
    ['zadd', 'sorted2', 3, 'both', 4, `member2 of ${owner}`],
    ['rpush', 'list', 'first', `element of ${owner}`, 'last'],
    ['rpush', 'list2', `element2 of ${owner}`],
    ['pfadd', 'hll', 'x', owner],
    ['pfadd', 'hll2', 'y', owner],
    ['geoadd', 'places', 13.361389, 38.115556, 'Palermo', 15.087269, 37.502669, `home of ${owner}`],
    ['geoadd', 'hall', 13.361389, 38.115556, `hall of ${owner}`],
    ['xadd', 'stream', '1-1', 'event', `first of ${owner}`],
    ['xadd', 'stream', '2-1', 'event', `second of ${owner}`],
    ['xgroup create', 'stream', 'group', '0'],
    ['xadd', 'stream2', '1-1', 'event', `other of ${owner}`],
    ['xgroup create', 'stream2', 'group', '1-1'],
    ['xclaim', 'stream2', 'group', 'consumer', 0, '1-1', 'FORCE', 'JUSTID', 'TIME', 1],
    ['rpush', 'ids', '2', '1', '3'],
    ['set', 'weight_1', 30],
    ['set', 'weight_2', 20],
    ['set', 'weight_3', 10],
    ['hset', 'user_1', 'name', `one of ${owner}`],
    ['hset', 'user_2', 'name', `two of ${owner}`],
    ['set', 'tk:acme:text', `a key of ${owner} that looks physical`],
    ['set', 'tk:acme2:text', `another key of ${owner} that looks physical`],
  ];
}

const SCRIPT = 'redis.call("APPEND", KEYS[1], ARGV[1]) return redis.call("MGET", unpack(KEYS))';
const SCRIPT_RO = 'return redis.call("MGET", unpack(KEYS))';
const FUNCTIONS = `#!lua name=tests_of_samples
  redis.register_function('tests_append', function(keys, args)
    redis.call('APPEND', keys[1], args[1])
    return redis.call('MGET', unpack(keys))
  end)
  redis.register_function{
    function_name = 'tests_read',
    callback = function(keys) return redis.call('MGET', unpack(keys)) end,
    flags = {'no-writes'},
  }`;

/** The scripts of the samples, as somebody who has read them declares them. */
export const allowedScripts: readonly AllowedScript[] = [
  { sha1: sha1(SCRIPT) },
  { sha1: sha1(SCRIPT_RO) },
  { function: 'tests_append' },
  { function: 'tests_read' },
];

/** Has the server know the scripts and functions of the samples. */
export async function loadScripts(raw: Raw): Promise<void> {
  await raw.script('LOAD', SCRIPT);
  await raw.script('LOAD', SCRIPT_RO);
  await raw.call('FUNCTION', 'LOAD', 'REPLACE', FUNCTIONS);
}

function sha1(text: string): string {
  return createHash('sha1').update(text).digest('hex');
}

type Sample = readonly (string | number)[];

/** For every command that is allowed with keys: calls that reach each of its key positions. */
export const samples: Readonly<Record<string, readonly Sample[]>> = {
  append: [
    ['text', '!'],
    ['new', '!'],
  ],
  bitcount: [['text']],
  bitfield: [['number', 'INCRBY', 'u8', 0, 1]],
  bitfield_ro: [['number', 'GET', 'u8', 0]],
  bitop: [
    ['AND', 'target', 'text', 'text2'],
    ['NOT', 'text', 'text2'],
  ],
  bitpos: [['text', 1]],
  decr: [['number']],
  decrby: [['number', 3]],
  get: [['text'], ['missing'], ['tk:acme2:text'], ['']],
  getbit: [['text', 1]],
  getdel: [['text']],
  getex: [
    ['text', 'EX', 500],
    ['brief', 'PERSIST'],
  ],
  getrange: [['text', 0, -1]],
  getset: [['text', 'new']],
  incr: [['number']],
  incrby: [['number', 7]],
  incrbyfloat: [['number', '0.5']],
  lcs: [
    ['text', 'text2'],
    ['text', 'text2', 'LEN'],
  ],
  mget: [['text', 'missing', 'text2', 'tk:acme2:text']],
  mset: [['text', 'one', 'new', 'two']],
  msetnx: [
    ['new', 'one', 'new2', 'two'],
    ['new', 'one', 'text', 'two'],
  ],
  pfadd: [
    ['hll', 'z'],
    ['new', 'z'],
  ],
  pfcount: [['hll'], ['hll', 'hll2']],
  pfmerge: [['target', 'hll', 'hll2']],
  psetex: [['text', 100000, 'new']],
  set: [
    ['text', 'new'],
    ['text', 'new', 'NX'],
    ['text', 'new', 'GET'],
    ['new', 'x', 'EX', 100],
    ['text', 'tk:acme2:text'],
    ['brief', 'new', 'KEEPTTL'],
  ],
  setbit: [['text', 7, 1]],
  setex: [['text', 100, 'new']],
  setnx: [
    ['text', 'no'],
    ['new', 'yes'],
  ],
  setrange: [['text', 2, 'XX']],
  strlen: [['text']],
  substr: [['text', 0, 3]],

  hdel: [['hash', 'field']],
  hexists: [['hash', 'field']],
  hget: [['hash', 'field']],
  hgetall: [['hash'], ['missing']],
  hincrby: [['hash', 'count', 2]],
  hincrbyfloat: [['hash', 'count', '1.5']],
  hkeys: [['hash']],
  hlen: [['hash']],
  hmget: [['hash', 'field', 'missing']],
  hmset: [['hash', 'a', '1', 'b', '2']],
  hrandfield: [
    ['hash', 5],
    ['hash', 5, 'WITHVALUES'],
  ],
  hscan: [
    ['hash', 0],
    ['hash', 0, 'MATCH', 'f*', 'COUNT', 10],
  ],
  hset: [
    ['hash', 'a', '1'],
    ['new', 'a', '1'],
  ],
  hsetnx: [
    ['hash', 'field', 'no'],
    ['hash', 'a', 'yes'],
  ],
  hstrlen: [['hash', 'field']],
  hvals: [['hash']],

  sadd: [['set', 'x', 'y']],
  scard: [['set']],
  sdiff: [['set', 'set2']],
  sdiffstore: [
    ['target', 'set', 'set2'],
    ['set', 'set', 'set2'],
  ],
  sinter: [['set', 'set2']],
  sintercard: [
    [2, 'set', 'set2'],
    [2, 'set', 'set2', 'LIMIT', 1],
    [1, 'set'],
  ],
  sinterstore: [['target', 'set', 'set2']],
  sismember: [['set', 'both']],
  smembers: [['set']],
  smismember: [['set', 'both', 'missing']],
  smove: [['set', 'set2', 'both']],
  spop: [['single'], ['single', 2]],
  srandmember: [['single'], ['single', 3]],
  srem: [['set', 'both']],
  sscan: [
    ['single', 0],
    ['single', 0, 'MATCH', 'only*'],
  ],
  sunion: [['set', 'set2']],
  sunionstore: [['target', 'set', 'set2']],

  bzmpop: [
    [1, 2, 'missing', 'sorted', 'MIN'],
    [1, 1, 'sorted', 'MAX', 'COUNT', 2],
  ],
  bzpopmax: [['missing', 'sorted', 1]],
  bzpopmin: [['sorted', 'sorted2', 1]],
  geoadd: [['places', 2.35, 48.85, 'Paris']],
  geodist: [['places', 'Palermo', 'Palermo']],
  geohash: [['places', 'Palermo']],
  geopos: [['places', 'Palermo']],
  georadius: [
    ['hall', 13, 38, 200, 'km'],
    ['hall', 13, 38, 200, 'km', 'STORE', 'target'],
    ['hall', 13, 38, 200, 'km', 'COUNT', 5, 'ANY', 'sToReDiSt', 'target', 'ASC'],
  ],
  georadius_ro: [['hall', 13, 38, 200, 'km']],
  georadiusbymember: [
    ['places', 'Palermo', 500, 'km', 'WITHDIST', 'WITHCOORD', 'ASC'],
    ['places', 'Palermo', 500, 'km', 'STOREDIST', 'target'],
  ],
  georadiusbymember_ro: [['places', 'Palermo', 500, 'km', 'ASC']],
  geosearch: [['places', 'FROMLONLAT', 13, 38, 'BYRADIUS', 500, 'km', 'ASC']],
  geosearchstore: [['target', 'places', 'FROMLONLAT', 13, 38, 'BYRADIUS', 500, 'km']],
  zadd: [
    ['sorted', 9, 'new'],
    ['new', 1, 'x'],
  ],
  zcard: [['sorted']],
  zcount: [['sorted', '-inf', '+inf']],
  zdiff: [
    [2, 'sorted', 'sorted2'],
    [2, 'sorted', 'sorted2', 'WITHSCORES'],
  ],
  zdiffstore: [['target', 2, 'sorted', 'sorted2']],
  zincrby: [['sorted', 5, 'both']],
  zinter: [
    [2, 'sorted', 'sorted2'],
    [2, 'sorted', 'sorted2', 'WEIGHTS', 2, 3, 'AGGREGATE', 'MAX', 'WITHSCORES'],
  ],
  zintercard: [[2, 'sorted', 'sorted2', 'LIMIT', 1]],
  zinterstore: [['target', 2, 'sorted', 'sorted2', 'WEIGHTS', 2, 3]],
  zlexcount: [['sorted', '-', '+']],
  zmpop: [
    [2, 'missing', 'sorted', 'MIN'],
    [1, 'sorted', 'MAX', 'COUNT', 2],
    [1, 'missing', 'MIN'],
  ],
  zmscore: [['sorted', 'both', 'missing']],
  zpopmax: [['sorted'], ['sorted', 2]],
  zpopmin: [['sorted'], ['sorted', 2]],
  zrandmember: [['hall'], ['hall', 1, 'WITHSCORES']],
  zrange: [
    ['sorted', 0, -1],
    ['sorted', 0, -1, 'WITHSCORES'],
  ],
  zrangebylex: [['sorted', '-', '+']],
  zrangebyscore: [['sorted', '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, 1]],
  zrangestore: [['target', 'sorted', 0, -1]],
  zrank: [['sorted', 'both']],
  zrem: [['sorted', 'both']],
  zremrangebylex: [['sorted', '-', '+']],
  zremrangebyrank: [['sorted', 0, 0]],
  zremrangebyscore: [['sorted', 1, 1]],
  zrevrange: [['sorted', 0, -1]],
  zrevrangebylex: [['sorted', '+', '-']],
  zrevrangebyscore: [['sorted', '+inf', '-inf']],
  zrevrank: [['sorted', 'both']],
  zscan: [['sorted', 0]],
  zscore: [['sorted', 'both']],
  zunion: [[2, 'sorted', 'sorted2', 'WITHSCORES']],
  zunionstore: [['target', 2, 'sorted', 'sorted2', 'AGGREGATE', 'MIN']],

  blmove: [['list', 'list2', 'LEFT', 'RIGHT', 1]],
  blmpop: [
    [1, 2, 'missing', 'list', 'LEFT'],
    [1, 1, 'list', 'RIGHT', 'COUNT', 2],
  ],
  blpop: [
    ['missing', 'list', 1],
    ['list', 'list2', 1],
  ],
  brpop: [['missing', 'list', 1]],
  brpoplpush: [['list', 'list2', 1]],
  lindex: [['list', 1]],
  linsert: [['list', 'BEFORE', 'last', 'new']],
  llen: [['list']],
  lmove: [
    ['list', 'list2', 'LEFT', 'RIGHT'],
    ['list', 'list', 'LEFT', 'RIGHT'],
  ],
  lmpop: [
    [2, 'missing', 'list', 'LEFT'],
    [1, 'list', 'RIGHT', 'COUNT', 2],
    [1, 'missing', 'LEFT'],
  ],
  lpop: [['list'], ['list', 2]],
  lpos: [['list', 'last']],
  lpush: [['list', 'new']],
  lpushx: [
    ['list', 'new'],
    ['missing', 'new'],
  ],
  lrange: [['list', 0, -1]],
  lrem: [['list', 0, 'first']],
  lset: [['list', 0, 'new']],
  ltrim: [['list', 0, 0]],
  rpop: [['list'], ['list', 2]],
  rpoplpush: [['list', 'list2']],
  rpush: [['list', 'new']],
  rpushx: [['list', 'new']],

  copy: [
    ['text', 'target'],
    ['text', 'text2'],
    ['text', 'text2', 'REPLACE'],
  ],
  dump: [['missing']],
  del: [['text', 'missing', 'text2']],
  exists: [['text', 'missing', 'text']],
  expire: [
    ['text', 1000],
    ['brief', 2000, 'GT'],
  ],
  expireat: [['text', 4000000000]],
  expiretime: [['text'], ['brief']],
  'object encoding': [['list'], ['missing']],
  'object freq': [['text']],
  'object idletime': [['text']],
  'object refcount': [['list']],
  'memory usage': [['missing']],
  persist: [['brief']],
  pexpire: [['text', 1000000]],
  pexpireat: [['text', 4000000000000]],
  pexpiretime: [['text'], ['missing']],
  pttl: [['text'], ['missing']],
  rename: [
    ['text', 'new'],
    ['text', 'text2'],
    ['missing', 'new'],
  ],
  renamenx: [
    ['text', 'new'],
    ['text', 'text2'],
  ],
  scan: [
    [0, 'COUNT', 1000],
    [0, 'MATCH', 't*', 'COUNT', 1000],
    [0, 'match', '*', 'TYPE', 'list', 'count', 1000],
    [0, 'MATCH', 'tk:*', 'COUNT', 1000],
    [0, 'MATCH', '[st]*', 'MATCH', 's*', 'COUNT', 1000],
    [0, 'MATCH', '', 'COUNT', 1000],
  ],
  sort: [
    ['ids'],
    ['ids', 'LIMIT', 0, 2, 'DESC'],
    ['ids', 'BY', 'weight_*', 'GET', '#', 'GET', 'user_*->name', 'get', 'text'],
    ['ids', 'BY', 'nosort', 'GET', 'tk:acme2:weight_*'],
    ['ids', 'BY', 'user_*->name', 'ALPHA', 'STORE', 'target'],
    ['ids', 'STORE', 'list', 'GET', 'weight_*'],
    ['ids', 'GET', 'STORE', 'BY', 'GET'],
  ],
  sort_ro: [
    ['ids', 'BY', 'weight_*', 'DESC', 'GET', 'weight_*', 'GET', '#'],
    ['set', 'ALPHA'],
  ],
  touch: [['text', 'missing', 'text2']],
  ttl: [['text'], ['missing']],
  type: [['text'], ['hash'], ['missing']],
  unlink: [['text', 'missing', 'text2']],

  eval: [
    [SCRIPT, 2, 'text', 'new', 'more'],
    [SCRIPT, 1, 'text', 'tk:acme2:text'],
  ],
  eval_ro: [[SCRIPT_RO, 3, 'text', 'missing', 'tk:acme2:text']],
  evalsha: [[sha1(SCRIPT), 2, 'text', 'new', 'more']],
  evalsha_ro: [[sha1(SCRIPT_RO), 1, 'text2']],
  fcall: [['tests_append', 1, 'text', 'more']],
  fcall_ro: [['tests_read', 2, 'text', 'text2']],

  xack: [['stream2', 'group', '1-1']],
  xackdel: [['stream2', 'group', 'KEEPREF', 'IDS', 1, '1-1']],
  xadd: [
    ['stream', '9-1', 'event', 'new'],
    ['new', 'MAXLEN', '~', 1000, '9-1', 'event', 'new'],
    ['missing', 'NOMKSTREAM', '9-1', 'event', 'new'],
  ],
  xautoclaim: [['stream2', 'group', 'other', 0, '0-0', 'JUSTID']],
  xcfgset: [['stream', 'IDMP-DURATION', 60]],
  xclaim: [
    ['stream2', 'group', 'other', 0, '1-1'],
    ['missing', 'group', 'other', 0, '1-1'],
  ],
  xdel: [['stream', '1-1']],
  xdelex: [['stream', 'IDS', 1, '1-1']],
  'xgroup create': [
    ['stream', 'new', '$'],
    ['new', 'group', '$', 'MKSTREAM'],
    ['missing', 'group', '$'],
    ['stream', 'group', '$'],
  ],
  'xgroup createconsumer': [
    ['stream', 'group', 'new'],
    ['stream', 'missing', 'new'],
  ],
  'xgroup delconsumer': [['stream2', 'group', 'consumer']],
  'xgroup destroy': [['stream', 'group']],
  'xgroup setid': [['stream', 'group', '1-1']],
  xidmprecord: [['stream', 'producer', 'id', '1-1']],
  'xinfo consumers': [
    ['stream', 'group'],
    ['stream', 'missing'],
  ],
  'xinfo groups': [['stream'], ['missing']],
  'xinfo stream': [['stream'], ['stream', 'FULL', 'COUNT', 1]],
  xlen: [['stream']],
  xnack: [['stream2', 'group', 'FAIL', 'IDS', 1, '1-1']],
  xpending: [
    ['stream2', 'group'],
    ['missing', 'group'],
  ],
  xrange: [['stream', '-', '+']],
  xread: [
    ['STREAMS', 'stream', '0'],
    ['COUNT', 1, 'STREAMS', 'stream', 'missing', 'stream2', '0', '0', '0'],
    ['BLOCK', 1, 'STREAMS', 'stream', '0'],
    ['BLOCK', 1, 'STREAMS', 'missing', '$'],
    ['streams', 'text', '0'],
  ],
  xreadgroup: [
    ['GROUP', 'group', 'consumer', 'COUNT', 1, 'NOACK', 'STREAMS', 'stream', 'stream2', '>', '0'],
    ['GROUP', 'STREAMS', 'missing', 'STREAMS', 'stream', '>'],
    ['GROUP', 'group', 'BLOCK', 'BLOCK', 1, 'STREAMS', 'stream', '>'],
  ],
  xrevrange: [['stream', '+', '-', 'COUNT', 1]],
  xsetid: [['stream', '5-1']],
  xtrim: [['stream', 'MAXLEN', 1]],

  // Newer than Redis 7.0. A server that does not know one repeats the arguments in its error.
  delex: [['text', 'IFEQ', 'no']],
  delifeq: [['text', 'no']],
  digest: [['text']],
  hexpire: [['hash', 100, 'FIELDS', 1, 'field']],
  hexpireat: [['hash', 4000000000, 'FIELDS', 1, 'field']],
  hexpiretime: [['hash', 'FIELDS', 1, 'field']],
  hgetdel: [['hash', 'FIELDS', 1, 'field']],
  hgetex: [['hash', 'EX', 100, 'FIELDS', 1, 'field']],
  hpersist: [['hash', 'FIELDS', 1, 'field']],
  hpexpire: [['hash', 100000, 'FIELDS', 1, 'field']],
  hpexpireat: [['hash', 4000000000000, 'FIELDS', 1, 'field']],
  hpexpiretime: [['hash', 'FIELDS', 1, 'field']],
  hpttl: [['hash', 'FIELDS', 1, 'field']],
  hsetex: [['hash', 'EX', 100, 'FIELDS', 1, 'field', 'new']],
  httl: [['hash', 'FIELDS', 1, 'field']],
  increx: [['number', 'EX', 100]],
  blmovem: [['list', 'list2', 'LEFT', 'RIGHT', 1, 'COUNT', 2]],
  lmovem: [['list', 'list2', 'LEFT', 'RIGHT', 'COUNT', 2]],
  msetex: [[2, 'text', 'one', 'new', 'two', 'EX', 100]],
  sdiffcard: [[2, 'set', 'set2']],
  sunioncard: [[2, 'set', 'set2', 'LIMIT', 1]],
  arcount: [['array']],
  ardel: [['array', 1]],
  ardelrange: [['array', 0, 1]],
  arget: [['array', 0]],
  argetrange: [['array', 0, 1]],
  argrep: [['array', 0, 1, 'MATCH', 'x']],
  arinfo: [['array']],
  arinsert: [['array', 'x']],
  arlastitems: [['array', 1]],
  arlen: [['array']],
  armget: [['array', 0, 1]],
  armset: [['array', 0, 'x', 1, 'y']],
  arnext: [['array']],
  arop: [['array', 0, 1, 'SUM']],
  arring: [['array', 2, 'x']],
  arscan: [['array', 0, 1]],
  arseek: [['array', 1]],
  arset: [['array', 0, 'x']],
  vadd: [['vectors', 'VALUES', 2, 1, 0, 'element']],
  vcard: [['vectors']],
  vdim: [['vectors']],
  vemb: [['vectors', 'element']],
  vgetattr: [['vectors', 'element']],
  vinfo: [['vectors']],
  vismember: [['vectors', 'element']],
  vlinks: [['vectors', 'element']],
  vrandmember: [['vectors']],
  vrange: [['vectors', '-', '+']],
  vrem: [['vectors', 'element']],
  vsetattr: [['vectors', 'element', '{"a":1}']],
  vsim: [['vectors', 'ELE', 'element']],
  watch: [['text'], ['text', 'missing']],
};

const DOCUMENT = ['doc', '$'] as const;
const ONE = ['one', 'x'] as const;
const TWO_SOURCES = ['target', 2, 'one', 'two'] as const;

/** The same for modules: calls by which their keys can be told from their other arguments. */
export const moduleSamples: Readonly<Record<string, readonly Sample[]>> = {
  ...each('json', 'arrlen arrpop clear del forget get objkeys objlen resp strlen toggle type', DOCUMENT),
  ...each('json', 'arrappend arrindex merge numincrby nummultby numpowby set strappend', [...DOCUMENT, '1']),
  ...each('json', 'arrinsert', [...DOCUMENT, 0, '1']),
  ...each('json', 'arrtrim', [...DOCUMENT, 0, 1]),
  'json.mget': [
    ['doc', '$'],
    ['doc', 'doc2', 'target', '$'],
  ],
  ...each('json', 'mset', ['doc', '$', '1', 'doc2', '$', '2']),
  ...each('bf', 'add card exists info insert madd mexists reserve scandump', ONE),
  ...each('cf', 'add addnx compact count del exists info insert insertnx mexists reserve scandump', ONE),
  ...each('cms', 'incrby info initbydim initbyprob query', ONE),
  ...each('cms', 'merge', [...TWO_SOURCES, 'WEIGHTS', 1, 2]),
  ...each(
    'tdigest',
    'add byrank byrevrank cdf create info max min quantile rank reset revrank trimmed_mean',
    ONE,
  ),
  ...each('tdigest', 'merge', [...TWO_SOURCES, 'OVERRIDE']),
  ...each('topk', 'add count incrby info list query reserve', ONE),
  ...each('ts', 'add alter create decrby del get incrby range revrange', ONE),
  ...each('ts', 'createrule', ['one', 'two', 'AGGREGATION', 'avg', 60]),
  ...each('ts', 'deleterule', ['one', 'two']),
  ...each('ts', 'madd', ['one', 1, 2, 'two', 3, 4]),
  ...each('ft', 'sugadd sugdel sugget suglen', ONE),
};

function each(family: string, names: string, sample: Sample): Record<string, readonly Sample[]> {
  return Object.fromEntries(names.split(' ').map((name) => [`${family}.${name}`, [sample]]));
}

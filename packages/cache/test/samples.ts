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
  georadius_ro: [['hall', 13, 38, 200, 'km']],
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
};

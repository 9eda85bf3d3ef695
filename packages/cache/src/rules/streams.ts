import { custom, defineRules, pass, rewrite } from '@tenantkit/core';
import type { KeySpec } from '../keyspec.ts';
import { KEY, KEY_AFTER_SUBCOMMAND, KEY_CREATED, KEY_CREATED_AFTER_SUBCOMMAND, words } from './places.ts';

const XREAD = rewrite<KeySpec>({
  at: [],
  options: { from: 0, words: words({ block: 1, count: 1 }), halved: 'streams', waits: 'block' },
  reply: 'streams',
});
const XREADGROUP = rewrite<KeySpec>({
  at: [],
  options: {
    from: 0,
    // The name of a group may well be STREAMS or BLOCK.
    words: words({ block: 1, claim: 1, count: 1, group: 2, noack: 0 }),
    halved: 'streams',
    waits: 'block',
  },
  reply: 'streams',
});

const DESCRIBES = pass('it describes the commands of the server');

/** Streams, and the groups that read them. */
export const STREAMS = {
  xack: KEY,
  xackdel: KEY,
  xadd: KEY_CREATED,
  xautoclaim: KEY,
  xcfgset: KEY,
  xclaim: KEY,
  xdel: KEY,
  xdelex: KEY,
  xgroup: custom({
    subcommands: defineRules({
      create: KEY_CREATED_AFTER_SUBCOMMAND,
      createconsumer: KEY_CREATED_AFTER_SUBCOMMAND,
      delconsumer: KEY_AFTER_SUBCOMMAND,
      destroy: KEY_AFTER_SUBCOMMAND,
      help: DESCRIBES,
      setid: KEY_AFTER_SUBCOMMAND,
    }),
  }),
  xidmprecord: KEY_CREATED,
  xinfo: custom({
    subcommands: defineRules({
      consumers: KEY_AFTER_SUBCOMMAND,
      groups: KEY_AFTER_SUBCOMMAND,
      help: DESCRIBES,
      stream: KEY_AFTER_SUBCOMMAND,
    }),
  }),
  xlen: KEY,
  xnack: KEY,
  xpending: KEY,
  xrange: KEY,
  xread: XREAD,
  xreadgroup: XREADGROUP,
  xrevrange: KEY,
  xsetid: KEY,
  xtrim: KEY,
};

// By the release that brought them. Those from 8.2 on, and Valkey 9.0's, are decided by their documented key
// specs: they were compared with no live server.
const RELEASES = {
  '7.2': 'waitaof',
  '7.4': 'hexpire hexpireat hexpiretime hpersist hpexpire hpexpireat hpexpiretime hpttl httl',
  '8.0':
    'hgetdel hgetex hsetex vadd vcard vdim vemb vgetattr vinfo vismember vlinks vrandmember vrem vsetattr vsim',
  '8.2': 'xackdel xdelex',
  '8.4': 'delex digest msetex vrange',
  '8.6': 'xcfgset xidmprecord',
  '8.8':
    'arcount ardel ardelrange arget argetrange argrep arinfo arinsert arlastitems arlen armget armset arnext arop ' +
    'arring arscan arseek arset increx xnack',
  '8.10': 'blmovem lmovem sdiffcard sunioncard',
  'Valkey 9.0': 'delifeq',
} as const;

/** Allowed commands that Redis 7.0 does not have → the release that does. Modules are not among them. */
export const NEWER: ReadonlyMap<string, string> = new Map(
  Object.entries(RELEASES).flatMap(([release, names]) => names.split(' ').map((name) => [name, release])),
);

import { describe, expect, it } from 'vitest';
import { isHandshake } from '../src/handshake.ts';

const options = { db: 3, username: 'app', password: 'secret', connectionName: 'mine' };
const settingUp = { status: 'connect', condition: { handshake: true }, options };
const inUse = [
  { status: 'ready', condition: { handshake: false }, options },
  { status: 'ready', condition: { handshake: true }, options },
  { status: 'connect', condition: { handshake: false }, options },
  { status: 'connect', condition: null, options },
];

const SETTING_UP = [
  ['auth', 'app', 'secret'],
  ['client', 'SETNAME', 'mine'],
  ['client', 'SETINFO', 'LIB-NAME', 'ioredis'],
  ['hello', '3', 'AUTH', 'app', 'secret'],
  ['info'],
] as const;

const ALWAYS = [
  ['asking'],
  ['cluster', 'INFO'],
  ['cluster', 'slots'],
  ['readonly'],
  ['readwrite'],
  ['select', '3'],
] as const;

const NEVER = [
  ['asking', 'x'],
  ['auth', 'secret'],
  ['auth', 'other', 'secret'],
  ['auth', 'app', 'secret', 'x'],
  ['client', 'SETNAME', 'other'],
  ['client', 'SETNAME', 'mine', 'x'],
  ['client', 'KILL', 'TYPE', 'normal'],
  ['client', 'REPLY', 'OFF'],
  ['client'],
  ['cluster', 'NODES'],
  ['cluster', 'RESET'],
  ['cluster', 'INFO', 'x'],
  ['cluster'],
  ['config', 'GET', '*'],
  ['constructor'],
  ['get', 'key'],
  ['hello', '3'],
  ['hello', '3', 'AUTH', 'other', 'secret'],
  ['hello', '3', 'AUTH', 'app', 'secret', 'SETNAME', 'x'],
  ['info', 'all'],
  ['readonly', 'x'],
  ['readwrite', 'x'],
  ['select', '0'],
  ['select', '3', 'x'],
  ['select'],
] as const;

type Call = readonly [name: string, ...args: string[]];

// With what they are called in a report.
const titled = (calls: readonly Call[]): (readonly [string, Call])[] =>
  calls.map((call) => [call.join(' '), call]);

describe('of what ioredis sends for itself', () => {
  it.each(titled(SETTING_UP))(
    '%s belongs to the setting up of a connection, and to nothing else',
    (_, [name, ...args]) => {
      expect(isHandshake(settingUp, name, args)).toBe(true);
      for (const connection of inUse) expect(isHandshake(connection, name, args)).toBe(false);
    },
  );

  it.each(titled(ALWAYS))('%s does nothing that ioredis would not do at any time', (_, [name, ...args]) => {
    for (const connection of [settingUp, ...inUse]) expect(isHandshake(connection, name, args)).toBe(true);
  });

  it.each(titled(NEVER))('%s is nothing, at no time', (_, [name, ...args]) => {
    for (const connection of [settingUp, ...inUse]) expect(isHandshake(connection, name, args)).toBe(false);
  });

  it('a connection without a name or a password sends neither', () => {
    const bare = { ...settingUp, options: {} };
    expect(isHandshake(bare, 'hello', ['3'])).toBe(true);
    expect(isHandshake(bare, 'hello', ['3', 'AUTH', 'default', ''])).toBe(false);
    expect(isHandshake(bare, 'select', ['0'])).toBe(true);
    const onlyPassword = { ...settingUp, options: { password: 'secret' } };
    expect(isHandshake(onlyPassword, 'auth', ['secret'])).toBe(true);
    expect(isHandshake(onlyPassword, 'hello', ['3', 'AUTH', 'default', 'secret'])).toBe(true);
  });
});

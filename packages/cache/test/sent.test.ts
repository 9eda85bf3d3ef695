import { withTenant } from '@tenantkit/core';
import { Command } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { Guard } from '../src/guard.ts';
import { Sent } from '../src/sent.ts';

const guard = new Guard({});
guard.scripts.define('one', 'return 1');
const SHA1 = 'e0e1f9fabfc9d4800c877a703b823ac0578ff8db';

const admit = (command: Command): Sent => {
  const sent = withTenant('acme', () => Sent.of(guard.admit(command)));
  if (sent === undefined) throw new Error('not admitted');
  return sent;
};

// As ioredis has made a command, what settles it are functions of their own.
describe('what settles a command that is sent', () => {
  it('needs no this', async () => {
    const [one, other] = [new Command('get', ['key']), new Command('get', ['key'])];
    const { resolve } = admit(one);
    const { reject } = admit(other);
    resolve('reply');
    reject(new Error('no reply'));
    expect(await one.promise).toBe('reply');
    await expect(other.promise).rejects.toThrow('no reply');
  });

  it.each([
    ['a command', 'get', ['key']],
    ['a defined command', 'evalsha', [SHA1, '1', 'key']],
  ])('may be replaced, until it begins anew: %s', async (_, name, args) => {
    const command = new Command(name, args);
    const sent = admit(command);
    const { reject } = sent;
    const heard: unknown[] = [];
    const own = {
      resolve: (reply: unknown) => void heard.push(reply),
      reject: (error: Error) => void heard.push(error),
    };
    Object.assign(sent, own);
    const error = new Error('no reply');
    sent.resolve('reply');
    sent.reject(error);
    expect(heard).toEqual(['reply', error]);
    reject(error);
    await expect(command.promise).rejects.toBe(error);
    sent.initPromise();
    sent.resolve('second reply');
    expect(await sent.promise).toBe('second reply');
    sent.initPromise();
    sent.reject(error);
    await expect(sent.promise).rejects.toBe(error);
    expect(heard).toHaveLength(2);
  });
});

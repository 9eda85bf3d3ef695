import { withTenant } from '@tenantkit/core';
import { Command } from 'ioredis';
import { describe, expect, it } from 'vitest';
import { Sent } from '../src/sent.ts';
import { Guard } from '../src/guard.ts';

describe('an error reply', () => {
  const guard = new Guard({ names: '{tenant}:' });
  const readable = (message: string): string =>
    withTenant('1', () => {
      const sent = Sent.of(guard.admit(new Command('get', ['key'])));
      return sent?.read(new Error(message)).message ?? 'not admitted';
    });

  it.each(['MOVED 5 127.0.0.1:7001', 'ASK 5 127.0.0.1:7001'])(
    'that redirects keeps its address: %s',
    (message) => {
      expect(readable(message)).toBe(message);
    },
  );

  it('that names a key names the logical one', () => {
    expect(readable('ERR no such key 1:key')).toBe('ERR no such key key');
  });
});

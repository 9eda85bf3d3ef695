import { ConfigError, InvalidTenantError } from '@tenantkit/core';
import { HOSTILE_TENANTS, INVALID_TENANTS } from '@tenantkit/testing';
import { QueueKeys } from 'bullmq';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { checkQueueName, laneKeys, laneName, tenantOfLane } from '../../src/lanes/names.ts';

const tenant = fc.oneof(fc.constantFrom(...HOSTILE_TENANTS), fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/));
const queue = fc
  .oneof(
    fc.constantFrom('mail', 'mail2', '{mail}', 'a.b', '-', ' '),
    fc.string({ minLength: 1, unit: 'grapheme' }),
  )
  .filter((name) => !/[:~]/.test(name) && name.isWellFormed());

describe('names of lanes', () => {
  it('give back the tenant, and only for their own queue', () => {
    fc.assert(
      fc.property(queue, tenant, queue, (own, id, other) => {
        fc.pre(id !== 'null' && id !== 'undefined');
        expect(tenantOfLane(own, laneName(own, id))).toBe(id);
        expect(tenantOfLane(other, laneName(own, id))).toBe(other === own ? id : undefined);
      }),
    );
  });

  it('and their keys are different for different queues and tenants', () => {
    const base = (name: string, id: string): string => `${laneKeys('bull', name).lanePrefix}${id}:wait`;
    fc.assert(
      fc.property(queue, tenant, queue, tenant, (queueA, tenantA, queueB, tenantB) => {
        const same = queueA === queueB && tenantA === tenantB;
        expect(base(queueA, tenantA) === base(queueB, tenantB)).toBe(same);
      }),
    );
  });

  it('are what BullMQ makes keys of', () => {
    const { lanePrefix, meta, limiter } = laneKeys('bull', 'mail');
    expect(new QueueKeys('bull').toKey(laneName('mail', 'acme'), 'wait')).toBe(`${lanePrefix}acme:wait`);
    expect(new QueueKeys('bull').toKey('mail', 'meta')).toBe(meta);
    expect(new QueueKeys('bull').toKey('mail', 'limiter')).toBe(limiter);
  });

  it('never meet the keys of ours, which are in no lane and in no queue', () => {
    const { lanePrefix, meta: _meta, limiter: _limiter, ...ours } = laneKeys('bull', 'mail');
    for (const key of Object.values(ours)) {
      expect(key.startsWith('bull:mail~:')).toBe(true);
      for (const id of HOSTILE_TENANTS) expect(key.startsWith(`${lanePrefix}${id}:`)).toBe(false);
    }
    expect(new Set(Object.values(ours)).size).toBe(Object.keys(ours).length);
  });

  it('are made of tenant ids only', () => {
    for (const id of INVALID_TENANTS) {
      expect(() => laneName('mail', id as string)).toThrow(InvalidTenantError);
      if (typeof id === 'string') expect(tenantOfLane('mail', `mail~${id}`)).toBeUndefined();
    }
    expect(tenantOfLane('mail', 'mail')).toBeUndefined();
    expect(tenantOfLane('mail', 'mail~a~b')).toBeUndefined();
  });
});

describe('names of queues', () => {
  it('are those of BullMQ, without "~"', () => {
    for (const good of ['mail', '{mail}', 'a.b', 'é', '*', '__proto__', ' '])
      expect(checkQueueName(good)).toBe(good);
    for (const bad of [
      '',
      ':',
      'a:b',
      '~',
      'mail~',
      '~mail',
      'mail~acme',
      'lone \ud800',
      1,
      null,
      undefined,
      ['mail'],
    ]) {
      expect(() => checkQueueName(bad as string), String(bad)).toThrow(ConfigError);
      expect(() => laneKeys('bull', bad as string), String(bad)).toThrow(ConfigError);
      expect(() => laneName(bad as string, 'acme'), String(bad)).toThrow(ConfigError);
    }
  });

  it('are refused with what is wrong, and a hint', () => {
    expect(() => checkQueueName('mail~acme')).toThrow(
      expect.objectContaining({ code: 'CONFIG_INVALID', hint: expect.stringContaining('another name') }),
    );
    expect(() => checkQueueName('mail~acme')).toThrow('before the tenant');
  });
});

import { ConfigError, IsolationBreachError, OperationRefusedError } from '@tenantkit/core';
import { HOSTILE_TENANTS } from '@tenantkit/testing';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DEFAULT_NAMES, checkId, checkNewId, jobNames } from '../src/names.ts';

const names = jobNames();
const tenant = fc.oneof(fc.constantFrom(...HOSTILE_TENANTS), fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/));
const id = fc.string({ unit: 'grapheme' });

describe('names of jobs', () => {
  it('give back what went in, and only to its tenant', () => {
    fc.assert(
      fc.property(tenant, tenant, id, (own, other, name) => {
        const physical = names.encode(own, name);
        expect(names.decode(own, physical)).toBe(name);
        expect(names.tenantOf(physical)).toBe(own);
        expect(names.owns(other, physical)).toBe(other === own);
        if (other !== own) expect(() => names.decode(other, physical)).toThrow(IsolationBreachError);
      }),
    );
  });

  it('are different for different tenants and ids', () => {
    fc.assert(
      fc.property(tenant, id, tenant, id, (tenantA, idA, tenantB, idB) => {
        const same = tenantA === tenantB && idA === idB;
        expect(names.encode(tenantA, idA) === names.encode(tenantB, idB)).toBe(same);
      }),
    );
  });

  it('take another template, unless BullMQ gives one of its characters a meaning', () => {
    expect(DEFAULT_NAMES).toBe('{tenant}~');
    expect(jobNames('t.{tenant}.').encode('acme', 'x')).toBe('t.acme.x');
    for (const bad of [
      '{tenant}',
      '{tenant}:',
      'a:{tenant}~',
      '{tenant}-',
      '*{tenant}~',
      '[{tenant}~',
      '{tenant}~{tenant}~',
      'tk!{tenant}~',
    ]) {
      expect(() => jobNames(bad), bad).toThrow(ConfigError);
    }
  });
});

describe('ids of callers', () => {
  it('are what BullMQ documents as custom ids', () => {
    for (const good of [
      'a',
      'order-42',
      '-',
      '~',
      'acme~1',
      '0x',
      '01',
      '1e3',
      ' ',
      'é',
      '__proto__',
      'x'.repeat(5_000),
    ]) {
      expect(checkNewId('add', good)).toBe(good);
    }
    for (const none of [undefined, '']) expect(checkNewId('add', none)).toBeUndefined();
    for (const bad of ['0', '1', '42', '-7', '9007199254740993', 'a:b', 'a:b:c', ':', '0:1', 'lone \ud800']) {
      expect(() => checkNewId('add', bad), bad).toThrow(OperationRefusedError);
    }
  });

  it('are texts and nothing that turns into one', () => {
    for (const bad of [
      0,
      1,
      true,
      null,
      ['a'],
      { toString: () => 'a' },
      Symbol('a'),
      new String('a'),
      () => 'a',
      1n,
    ]) {
      expect(() => checkNewId('add', bad)).toThrow(OperationRefusedError);
      expect(() => checkId('getJob', bad)).toThrow(OperationRefusedError);
    }
  });

  it('are refused in words', () => {
    const says = (id: unknown): string => {
      try {
        checkNewId('add', id);
      } catch (error) {
        return (error as Error).message;
      }
      throw new Error('it was accepted');
    };
    expect(says(7)).toBe(
      'queue.add is refused: a job id must be a string. Convert it first: an object or a list could read as one id here and as another one later.',
    );
    expect(says('\ud800')).toBe(
      'queue.add is refused: the job id holds a lone surrogate. Use text that UTF-8 can store.',
    );
    expect(says('a:b')).toBe(
      'queue.add is refused: the job id holds ":", by which BullMQ separates the parts of its keys. Use another separator, for example "-" or "_".',
    );
    expect(says('repeat:s:1700000000000')).toBe(says('a:b'));
    expect(says('42')).toBe(
      'queue.add is refused: the job id is an integer, a form that BullMQ keeps for itself. Put a letter before it, for example "order-42", or leave jobId out.',
    );
    expect(() => jobNames('{tenant}')).toThrow(/^Invalid configuration of queue/);
    expect(caught(() => names.decode('acme', 'acme2~x'))).toMatchObject({ surface: 'queue' });
  });
});

function caught(call: () => unknown): unknown {
  try {
    return call();
  } catch (error) {
    return error;
  }
}

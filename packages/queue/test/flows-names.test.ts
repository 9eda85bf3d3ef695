import { describe, expect, it } from 'vitest';
import { checkNotItself, isLinkSound, linkOf, logicalLinks, logicalOptions } from '../src/flows/link.ts';
import { logicalFailure, logicalKey, nodeOf, ownNode } from '../src/flows/names.ts';
import { jobNames } from '../src/names.ts';

const naming = { prefix: 'bull', names: jobNames() };
const key = 'bull:reports~acme:acme~p7';

/** Keys that name no job of a flow. */
const NONE = [
  '',
  'bull',
  'bull:',
  'bull:reports:p7',
  'bull:reports:acme~p7',
  'bull:reports~acme',
  'bull:reports~acme:',
  'bull:reports~acme:p7',
  'bull:reports~acme:acme2~p7',
  'bull:reports~acme2:acme~p7',
  'bull:reports~a b:a b~p7',
  'bull:reports~:acme~p7',
  'bull:~acme:acme~p7',
  'bull:a~b~acme:acme~p7',
  'bull:reports~acme:acme~p7:logs',
  'bull:reports~acme:repeat:s:1732000000000',
  'raw:reports~acme:acme~p7',
  'bullreports~acme:acme~p7',
  ' bull:reports~acme:acme~p7',
];

describe('the key of a job in a flow', () => {
  it('says queue, tenant and id', () => {
    expect(nodeOf(naming, key)).toEqual({ queue: 'reports', tenant: 'acme', id: 'acme~p7', logical: 'p7' });
    expect(nodeOf(naming, 'bull:a b~acme:acme~x~y')).toMatchObject({ queue: 'a b', logical: 'x~y' });
    const deep = { ...naming, prefix: 'a:b' };
    expect(nodeOf(deep, 'a:b:q~acme:acme~p7')).toMatchObject({ queue: 'q' });
    expect(logicalKey(deep, { queue: 'q', tenant: 'acme', id: 'acme~p7', logical: 'p7' })).toBe('a:b:q:p7');
  });

  it('is no other text', () => {
    for (const text of NONE) expect(nodeOf(naming, text), text).toBeUndefined();
  });

  it('is that of one tenant', () => {
    expect(ownNode(naming, 'acme', key)?.logical).toBe('p7');
    expect(ownNode(naming, 'acme2', key)).toBeUndefined();
    expect(ownNode(naming, 'acm', key)).toBeUndefined();
  });

  it('is logical in the failure of a parent', () => {
    const told = (text: string): string => logicalFailure(naming, 'acme', text);
    expect(told(`child ${key} failed`)).toBe('child bull:reports:p7 failed');
    expect(told('child bull:reports~acme2:acme2~p7 failed')).toBe('a child failed');
    expect(told('child session:1 failed')).toBe('a child failed');
    // Only what BullMQ writes is taken apart.
    for (const text of [`a child ${key} failed`, `child ${key} failed again`]) expect(told(text)).toBe(text);
    expect(told('job stalled more than allowable limit')).toBe('job stalled more than allowable limit');
  });
});

describe('the link of a child', () => {
  const link = (options: object, tenant = 'acme') =>
    linkOf(naming, tenant, 'add', options as Readonly<Record<string, unknown>>);
  const parent = { id: 'p7', queue: 'bull:reports' };

  it('leads to a job of the tenant of the call', () => {
    expect(link({})).toBeUndefined();
    expect(link({ parent })).toEqual({
      parentKey: key,
      parent: { id: 'acme~p7', queueKey: 'bull:reports~acme' },
      option: { id: 'acme~p7', queue: 'bull:reports~acme' },
    });
  });

  it('says what a failure does', () => {
    for (const [option, flag] of Object.entries({
      failParentOnFailure: 'fpof',
      removeDependencyOnFailure: 'rdof',
      ignoreDependencyOnFailure: 'idof',
      continueParentOnFailure: 'cpof',
    })) {
      expect(link({ parent, [option]: true })?.parent).toEqual({
        id: 'acme~p7',
        queueKey: 'bull:reports~acme',
        [flag]: true,
      });
      expect(link({ parent, [option]: false })?.parent).not.toHaveProperty(flag);
    }
    const two = { failParentOnFailure: true, continueParentOnFailure: true };
    for (const options of [two, { parent, ...two }])
      expect(() => link(options)).toThrow(/more than one option of what its failure does/);
  });

  it('is refused where it leads nowhere', () => {
    expect(() => link({ parent, deduplication: { id: 'd' } })).toThrow(/cannot be a duplicate/);
    for (const queue of ['', 'reports', 'bull', 'bull:', 'raw:reports', 'bull:a:b', 'bull:reports~acme'])
      expect(() => link({ parent: { ...parent, queue } }), queue).toThrow(/the queue of the parent is none/);
    expect(() => link({ parent: { ...parent, id: '' } })).toThrow(/the queue of the parent is none/);
    for (const id of ['a:b', '42', 'repeat:s:1732000000000', '\ud800'])
      expect(() => link({ parent: { ...parent, id } }), id).toThrow(/the job id/);
    expect(() => link({ parent }, 'no tenant')).toThrow(/tenant/);
    const own = link({ parent });
    expect(() => checkNotItself('add', own, key)).toThrow(/its own parent/);
    checkNotItself('add', own, `${key}0`);
    checkNotItself('add', undefined, key);
  });

  it('is refused in words', () => {
    const says = (options: object): string => {
      try {
        checkNotItself('add', link(options), key);
      } catch (error) {
        return (error as Error).message;
      }
      throw new Error('it was accepted');
    };
    expect(says({ failParentOnFailure: true, continueParentOnFailure: true })).toBe(
      'queue.add is refused: the job has more than one option of what its failure does to its parent. Use one of failParentOnFailure, removeDependencyOnFailure, ignoreDependencyOnFailure, continueParentOnFailure.',
    );
    expect(says({ parent, deduplication: { id: 'd' } })).toBe(
      'queue.add is refused: a job with a parent cannot be a duplicate, as in BullMQ: its parent would wait for another job. Leave deduplication out, or give the job a jobId.',
    );
    for (const queue of ['raw:reports', 'bull:a:b'])
      expect(says({ parent: { ...parent, queue } })).toBe(
        'queue.add is refused: the queue of the parent is none that this one can have a parent in. Give its qualified name, prefix and queue, as in parent: { id: job.id, queue: job.queueQualifiedName }.',
      );
    expect(says({ parent })).toBe(
      'queue.add is refused: the job would be its own parent. Give another id, or another parent.',
    );
  });

  it('is sound, or not believed', () => {
    const text = '{"id":"acme~p7","queueKey":"bull:reports~acme"}';
    const sound = (at: string | undefined, said: string | undefined) => isLinkSound(naming, 'acme', at, said);
    expect([sound(undefined, undefined), sound('', undefined), sound(key, text)]).toEqual([true, true, true]);
    for (const given of [
      [key, undefined],
      [undefined, text],
      ['', text],
      [key, '{}'],
      [key, 'null'],
      [key, '[]'],
      ['bull:x:undefined', '{"queueKey":"bull:x"}'],
      [key, text.replace('acme~p7', 'acme~p8')],
      [key, text.replace('reports', 'mail')],
      [key, '{"id":["acme~p7"],"queueKey":"bull:reports~acme"}'],
      [key, '{"id":"acme~p7","queueKey":["bull:reports~acme"]}'],
    ] as const)
      expect(sound(given[0], given[1]), String(given)).toBe(false);
    expect(isLinkSound(naming, 'acme2', key, text)).toBe(false);
  });

  it('is shown with logical names', () => {
    const job = { parentKey: key, parent: { id: 'acme~p7', queueKey: 'bull:reports~acme', fpof: true } };
    const shown = logicalLinks(naming, 'acme', { ...job, deferredFailure: `child ${key} failed` } as never);
    expect(shown).toEqual({
      parentKey: 'bull:reports:p7',
      parent: { id: 'p7', queueKey: 'bull:reports', fpof: true },
      deferredFailure: 'child bull:reports:p7 failed',
    });
    expect(logicalLinks(naming, 'acme', {} as never)).toStrictEqual({});
    const options = { attempts: 1, parent: { id: 'acme~old', queue: 'bull:reports~acme' } };
    expect(logicalOptions(options, shown)).toEqual({
      attempts: 1,
      parent: { id: 'p7', queue: 'bull:reports' },
    });
    expect(logicalOptions(options, {})).toEqual({ attempts: 1 });
  });
});

import { expect, it } from 'vitest';
import { stamp } from '../src/stamp.ts';

it('is on the object that it was put on, and on no other', () => {
  const note = stamp<string>();
  const [one, other] = [{}, {}];
  note.set(one, 'first');
  expect([note.get(one), note.get(other)]).toEqual(['first', undefined]);
  note.set(one, 'second');
  expect(note.get(one)).toBe('second');
  expect(note.get(Object.create(one) as object)).toBeUndefined();
});

it('is seen by whoever has made it alone', () => {
  const [note, another] = [stamp<string>(), stamp<string>()];
  const job = { id: '7' };
  note.set(job, 'of acme');
  another.set(job, 'of globex');
  expect([note.get(job), another.get(job)]).toEqual(['of acme', 'of globex']);
  expect(Reflect.ownKeys(job)).toEqual(['id']);
  expect({ ...job }).toEqual({ id: '7' });
  expect(note.get({ ...job })).toBeUndefined();
  expect(note.get(structuredClone(job))).toBeUndefined();
});

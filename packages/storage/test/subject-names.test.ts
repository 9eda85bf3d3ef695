import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { SUBJECTS } from '../src/spots.ts';
import {
  LABEL,
  LABEL_HEADER,
  OWN_METADATA,
  labelOf,
  markerOf,
  markersOf,
  readMarker,
  subjectsIn,
} from '../src/subject-names.ts';

// The names under which it is noted that an object is about a person.

describe('a marker', () => {
  const START = `${SUBJECTS}acme/p1/`;

  it('stands under its tenant and person, and names the key', () => {
    expect(markersOf('acme', 'p1')).toBe(START);
    expect(markerOf('acme', 'p1', 'a/b')).toEqual({ key: `${START}k/a/b`, body: '' });
    expect(readMarker('k/a/b')).toEqual({ key: 'a/b' });
  });

  it('has the key in its body where its own has no room for it', () => {
    const room = 1024 - `${START}k/`.length;
    const digestOf = (key: string): string => createHash('sha256').update(key).digest('base64url');
    for (const char of ['x', 'é']) {
      const fits = char.repeat(Math.floor(room / Buffer.byteLength(char)));
      expect(markerOf('acme', 'p1', fits)).toEqual({ key: `${START}k/${fits}`, body: '' });
      const long = `${fits}${char}`;
      expect(markerOf('acme', 'p1', long)).toEqual({ key: `${START}h/${digestOf(long)}`, body: long });
      expect(readMarker(`h/${digestOf(long)}`)).toBe('body');
    }
    expect(markerOf('acme', 'p1', 'x'.repeat(room)).body).toBe('');
  });

  it.each(['', 'k/', 'k', 'ak/b', 'h/', `h/${'a'.repeat(42)}`, `h/${'a'.repeat(44)}`, `h/${'.'.repeat(43)}`])(
    'is not called %j',
    (name) => {
      expect(readMarker(name)).toBeUndefined();
    },
  );

  it('is not found behind or before other letters', () => {
    const name = `h/${'aZ09_-'.padEnd(43, 'b')}`;
    expect(readMarker(name)).toBe('body');
    expect(readMarker(`a${name}`)).toBeUndefined();
    expect(readMarker(`${name}=`)).toBeUndefined();
  });
});

describe('a label', () => {
  it('names persons, each once, in whatever way the server gives it', () => {
    expect(labelOf([])).toBeUndefined();
    expect(labelOf(['p1'])).toBe('p1');
    expect(labelOf(['p1', 'p2'])).toBe('p1,p2');
    expect(subjectsIn('p1')).toEqual(['p1']);
    expect(subjectsIn('p1, p2 ,p1,p3')).toEqual(['p1', 'p2', 'p3']);
    for (const none of [undefined, '', ',', 'a b', '../p1']) expect(subjectsIn(none)).toEqual([]);
    expect(subjectsIn('a b,p1')).toEqual(['p1']);
  });

  it('is metadata of our own, which nobody else may write', () => {
    expect([LABEL, LABEL_HEADER]).toEqual(['tk-subject', 'x-amz-meta-tk-subject']);
    for (const name of [LABEL, 'tk-', 'TK_a']) expect(OWN_METADATA.test(name)).toBe(true);
    for (const name of ['tk', 'tka', 'a-tk-b', 'a']) expect(OWN_METADATA.test(name)).toBe(false);
  });
});

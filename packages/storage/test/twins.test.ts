import { afterAll, describe, expect, it } from 'vitest';
import { rules } from '../src/rules.ts';
import { open, type Opened } from './open.ts';
import { lacking, lacks, server } from './servers/capabilities.ts';
import type { Feature } from './servers/table.ts';
import { Side } from './twins/side.ts';
import { TWINS } from './twins/table.ts';
import type { Case, Cases } from './twins/objects.ts';

// The same commands twice: by the raw client with physical names, and by ours with logical ones. What comes back is
// the same, replies and errors alike, but for ids, dates and tokens, which differ between any two calls.

type Kind = NonNullable<Case['bucket']> | 'plain';
const TRAITS = { plain: {}, versioned: { versioned: true }, locked: { objectLock: true } } as const;
const NEEDS: Readonly<Record<Kind, readonly Feature[]>> = {
  plain: [],
  versioned: ['versions'],
  locked: ['locks'],
};

const opened = new Map<Kind, Promise<Opened>>();
const bucketOf = (kind: Kind): Promise<Opened> => {
  const known = opened.get(kind);
  if (known !== undefined) return known;
  const opening = open({ tenant: { tags: ['project', 'stage'] }, traits: TRAITS[kind] });
  opened.set(kind, opening);
  return opening;
};
afterAll(async () => {
  for (const own of await Promise.all(opened.values())) await own[Symbol.asyncDispose]();
});

it('there are twins of every command that a tenant may send', () => {
  const allowed = Object.entries(rules).filter(([, { kind }]) => kind === 'rewrite');
  expect(Object.keys(TWINS).sort()).toEqual(allowed.map(([name]) => name).sort());
});

let last = 0;

describe.each(Object.entries<Cases>(TWINS))('%s', (command, cases) => {
  for (const [name, { bucket = 'plain', needs = [], ends, run }] of Object.entries(cases)) {
    const missing = lacking([...NEEDS[bucket], ...needs]);
    if (missing !== undefined) {
      lacks(name, missing);
      continue;
    }
    it(`${name}, is answered alike`, async () => {
      const own = await bucketOf(bucket);
      const number = (last += 1);
      const raw = new Side(own, `raw-${number}`, false);
      const ours = new Side(own, `our-${number}`, true);
      await run(raw);
      await run(ours);
      expect(ours.log).toStrictEqual(raw.log);
      const about = raw.log.findLast((one) => one.command === command);
      // Other servers may end otherwise, but on both sides alike.
      if (server === 'ceph') expect(about?.error?.name ?? 'ok', JSON.stringify(about)).toBe(ends);
      else expect(about).toBeDefined();
    });
  }
});

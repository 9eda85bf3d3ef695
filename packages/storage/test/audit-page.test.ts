import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { FINDINGS } from '../src/audit-findings.ts';

const page = readFileSync(new URL('../docs/audit.md', import.meta.url), 'utf8');

it('the page about the audit lists every finding with its severity', () => {
  const rows = page.matchAll(/^\| (`[^|]+) +\| (\w+) +\|/gm);
  const listed = [...rows].flatMap(([, codes = '', severity]) =>
    [...codes.matchAll(/`(\w+)`/g)].map(([, code]) => `${code} ${severity}`),
  );
  const known = Object.entries(FINDINGS).map(([code, { severity }]) => `${code} ${severity}`);
  expect(listed.sort()).toEqual(known.sort());
});

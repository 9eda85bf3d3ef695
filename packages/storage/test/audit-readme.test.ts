import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { FINDINGS } from '../src/audit-findings.ts';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

it('the README lists every finding with its severity', () => {
  const [, section = ''] = readme.split('\n## Audit\n');
  const rows = (section.split('\n## ')[0] ?? '').matchAll(/^\| (`[^|]+) +\| (\w+) +\|/gm);
  const listed = [...rows].flatMap(([, codes = '', severity]) =>
    [...codes.matchAll(/`(\w+)`/g)].map(([, code]) => `${code} ${severity}`),
  );
  const known = Object.entries(FINDINGS).map(([code, { severity }]) => `${code} ${severity}`);
  expect(listed.sort()).toEqual(known.sort());
});

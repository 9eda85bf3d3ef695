import { readdirSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { has, lacking, lacks, server } from './servers/capabilities.ts';
import { FILES, SERVERS, leftOut, type Feature } from './servers/table.ts';

const features = Object.entries(SERVERS[server]) as [Feature, true | string][];

describe(`what ${server} can do`, () => {
  it.each(features)('%s: %s', async (feature, row) => {
    expect(await has(feature)).toBe(row === true);
  });
});

describe(`test files that are left out on ${server}`, () => {
  it('are files that there are', () => {
    const there = readdirSync(import.meta.dirname, { recursive: true });
    expect(there).toEqual(expect.arrayContaining(Object.keys(FILES)));
  });

  for (const file of leftOut(server)) {
    const feature = lacking(FILES[file] ?? []);
    if (feature !== undefined) lacks(file, feature);
  }
});

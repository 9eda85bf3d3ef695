import { describe, expect, it } from 'vitest';
import { ruleOf } from '../src/rules.ts';
import { NEWER } from '../src/rules/newer.ts';
import { readReadme, withTables } from './readme-commands.ts';

describe('the tables of commands in the README', () => {
  it('are those of the rules; node --conditions=@tenantkit/source packages/cache/test/readme-commands.ts writes them', () => {
    expect(readReadme()).toBe(withTables(readReadme()));
  });

  it('are written anew whatever stood there before', () => {
    const readme = readReadme();
    const emptied = readme.replace(/(<!-- refused: [^>]*-->)[^]*(<!-- \/refused -->)/, '$1 old $2');
    expect(emptied.length).toBeLessThan(readme.length);
    expect(withTables(emptied)).toBe(readme);
    expect(() => withTables(readme.replace('<!-- /scoped -->', ''))).toThrow(/no place/);
  });

  it('say the release of allowed commands only', () => {
    expect([...NEWER.keys()].filter((name) => ['refuse', undefined].includes(ruleOf(name)?.kind))).toEqual(
      [],
    );
  });
});

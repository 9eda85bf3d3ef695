import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { AGGREGATIONS, QUERIES, SEARCH_BODY } from '../src/clauses.ts';
import { rules, type Row } from '../src/rules.ts';

const readme = readFileSync(new URL('../README.md', import.meta.url), 'utf8');

/** The names in backticks of one item of the list, up to its first full stop. */
function listed(title: string): readonly string[] {
  const [, item = ''] = readme.split(`- **${title}**: `);
  const [sentence = ''] = item.split('.\n');
  return [...(sentence.split('. ')[0] ?? '').matchAll(/`([\w.]+)`/g)].map(([, name = '']) => name).sort();
}

const allowedIn = (table: object): readonly string[] =>
  Object.entries(table)
    .filter(([, row]: [string, unknown]) => typeof row !== 'object' || row === null || !('kind' in row))
    .map(([name]) => name)
    .sort();

describe('the README', () => {
  it('lists what the tables allow, and nothing else', () => {
    expect(listed('Queries')).toEqual(allowedIn(QUERIES));
    expect(listed('Aggregations')).toEqual(allowedIn(AGGREGATIONS));
    expect(listed('Body keys')).toEqual(allowedIn(SEARCH_BODY));
  });

  it('names every operation that the rules allow', () => {
    const allowed = Object.entries<Row>(rules).filter(
      ([name, { kind }]) => kind !== 'refuse' && !name.startsWith('http.'),
    );
    expect(allowed.map(([operation]) => operation).filter((name) => !readme.includes(`\`${name}\``))).toEqual(
      [],
    );
  });
});

import { readdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { expandRoute, findRoute } from '../src/routes.ts';
import { rules, type Operation, type Row } from '../src/rules.ts';

const require = createRequire(import.meta.url);
const api = join(dirname(require.resolve('@opensearch-project/opensearch/package.json')), 'api');

interface Sent {
  readonly method: string;
  readonly path: string;
}

/** Every API function of the package, by its dotted name, from its own folder. */
const files = readdirSync(api, { withFileTypes: true })
  .filter((entry) => entry.isDirectory() && entry.name !== '_types')
  .flatMap(({ name: folder }) =>
    readdirSync(join(api, folder))
      .filter((file) => file.endsWith('.js') && file !== '_api.js')
      .map((file) => {
        const name = file.slice(0, -'.js'.length);
        return { operation: folder === '_core' ? name : `${folder}.${name}`, file: join(api, folder, file) };
      }),
  );

describe('the rules table', () => {
  it('has one row per function of the package’s API folder, and no other', () => {
    expect(Object.keys(rules).sort()).toEqual(files.map(({ operation }) => operation).sort());
    expect(files).toHaveLength(495);
  });

  it('has no row for names that every object has', () => {
    expect('constructor' in rules).toBe(false);
    expect('__proto__' in rules).toBe(false);
  });

  it('says for every refusal why, and what to use instead', () => {
    const refused = Object.values<Row>(rules).filter((row) => row.kind === 'refuse');
    expect(refused.length).toBeGreaterThan(400);
    for (const row of refused) {
      if (row.kind !== 'refuse') continue;
      expect(row.why).toMatch(/^[a-z].*[^.]$/);
      expect(row.instead).toMatch(/^[A-Za-z].*\.$/);
    }
  });

  it.each(files.filter(({ operation }) => !operation.startsWith('http.')))(
    'finds the row of $operation by the method and path that the client sends',
    ({ operation, file }) => {
      for (const { method, path } of everyRequestOf(file)) {
        expect([method, path, findRoute(method, path)?.operation]).toEqual([method, path, operation]);
      }
    },
  );

  it('finds only what a template says', () => {
    const found = (method: string, path: string): Operation | undefined => findRoute(method, path)?.operation;
    expect(found('POST', '/i/_search')).toBe('search');
    expect(found('GET', '/_search')).toBe('search');
    for (const [method, path] of [
      ['PUT', '/i/_search'],
      ['POST', '/i/_search/'],
      ['POST', '//i/_search'],
      ['POST', '/i//_search'],
      ['POST', '//_search'],
      ['POST', '/i/_Search'],
      ['POST', '/i/%5Fsearch'],
      ['POST', '/i/_search/x'],
      ['POST', '/i/_doc/1/_update'],
      ['GET', '/i/type/1'],
      ['GET', ''],
      ['BREW', '/'],
    ] as const) {
      expect([path, found(method, path)]).toEqual([path, undefined]);
    }
  });

  it('expands a template to each method and each optional segment', () => {
    expect(expandRoute('GET|POST /{index?}/_count')).toEqual([
      ['GET', '/{}/_count'],
      ['GET', '/_count'],
      ['POST', '/{}/_count'],
      ['POST', '/_count'],
    ]);
    expect(expandRoute('HEAD /')).toEqual([['HEAD', '/']]);
  });
});

/** Calls a function of the API with every combination of its path parameters, and records what it would send. */
function everyRequestOf(file: string): Sent[] {
  const source = readFileSync(file, 'utf8');
  const call = require(file) as (this: unknown, params: object, options: object) => unknown;
  const inPath = [...source.matchAll(/parsePathParam\((\w+)\)/g)].map(([, name]) => name ?? '');
  const required = [...source.matchAll(/params\.(\w+) == null\) return handleMissing/g)].map(
    ([, name]) => name ?? '',
  );
  const optional = inPath.filter((name) => !required.includes(name));
  const sent: Sent[] = [];
  const self = { transport: { request: (request: Sent) => sent.push(request) } };
  for (let chosen = 0; chosen < 2 ** optional.length; chosen += 1) {
    for (const body of [{}, undefined]) {
      const names = [...required, ...optional.filter((_, bit) => (chosen & (2 ** bit)) !== 0)];
      const params = Object.fromEntries(names.map((name) => [name, name]));
      call.call(
        self,
        { ...params, ...(body === undefined && !names.includes('body') ? {} : { body: {} }) },
        {},
      );
    }
  }
  expect(sent.length).toBeGreaterThan(0);
  return sent;
}

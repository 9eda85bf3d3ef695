import { readFileSync, writeFileSync } from 'node:fs';
import { ARRAYS_AND_VECTORS, LISTS, SORTED_SETS } from '../src/rules/collections.ts';
import { MODULES } from '../src/rules/modules.ts';
import { NEWER } from '../src/rules/newer.ts';
import { STREAMS } from '../src/rules/streams.ts';
import { HASHES, SETS, STRINGS } from '../src/rules/values.ts';
import { rules, type CacheRule } from '../src/rules.ts';

/** The pages that hold a table of commands, and which. */
export const PAGES = {
  refused: new URL('../docs/commands.md', import.meta.url),
  scoped: new URL('../docs/commands.md', import.meta.url),
} as const;

/** One command, or one subcommand, and what is decided about it. */
type Entry = readonly [name: string, rule: CacheRule];

const FAMILIES: Readonly<Record<string, object>> = {
  'texts, numbers, bits, HyperLogLogs': STRINGS,
  hashes: HASHES,
  sets: SETS,
  'sorted sets, geo data': SORTED_SETS,
  lists: LISTS,
  streams: STREAMS,
  'arrays, vector sets': ARRAYS_AND_VECTORS,
  modules: MODULES,
};

const TABLES = { scoped, refused } as const;

/** A page with its table of commands as it follows from the rules. */
export function withTable(text: string, name: keyof typeof PAGES): string {
  const [begin, end] = [`<!-- ${name}: test/readme-commands.ts -->`, `<!-- /${name} -->`];
  const [head, rest, ...more] = text.split(begin);
  const tail = rest?.split(end)[1];
  if (head === undefined || tail === undefined || more.length > 0)
    throw new Error(`The page has no place for the table ${name}.`);
  return `${head}${begin}\n\n${TABLES[name]()}\n\n${end}${tail}`;
}

/** A page as it is. */
export function readPage(name: keyof typeof PAGES): string {
  return readFileSync(PAGES[name], 'utf8');
}

function refused(): string {
  const groups = new Map<string, string[]>();
  for (const [name, rule] of entries()) {
    if (rule.kind !== 'refuse') continue;
    const reason = `${cell(rule.why)} | ${cell(rule.instead)}`;
    groups.set(reason, [...(groups.get(reason) ?? []), name]);
  }
  return table(
    ['commands', 'why', 'instead'],
    [...groups].map(([reason, names]) => `${listed(names)} | ${reason}`),
  );
}

function scoped(): string {
  const families = Object.entries(FAMILIES).map(
    ([family, table]) => [family, new Set(Object.keys(table))] as const,
  );
  const rows = new Map<string, string[]>();
  for (const [name, rule] of entries()) {
    if (rule.kind === 'refuse') continue;
    const [word = ''] = name.split(' ');
    const family =
      families.find(([, names]) => names.has(word))?.[0] ??
      (rule.kind === 'pass' ? 'without names' : 'other');
    rows.set(family, [...(rows.get(family) ?? []), name]);
  }
  return table(
    ['', 'commands'],
    [...rows].map(([family, names]) => `${family} | ${listed(names)}`),
  );
}

function entries(): Entry[] {
  return Object.entries(rules).flatMap(([name, rule]: Entry): Entry[] => {
    if (rule.kind !== 'custom' || typeof rule.custom !== 'object') return [[name, rule]];
    return Object.entries(rule.custom.subcommands)
      .filter(([sub]) => sub !== '')
      .map(([sub, row]) => [`${name} ${sub}`, row]);
  });
}

function listed(names: readonly string[]): string {
  return [...names]
    .sort()
    .map((name) => {
      const release = NEWER.get(name);
      return `\`${name.toUpperCase()}\`${release === undefined ? '' : ` (${release})`}`;
    })
    .join(', ');
}

function table(head: readonly string[], rows: readonly string[]): string {
  return [head.join(' | '), head.map(() => '---').join('|'), ...rows].map((row) => `| ${row} |`).join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', String.raw`\|`);
}

if (import.meta.main) {
  for (const name of ['refused', 'scoped'] as const)
    writeFileSync(PAGES[name], withTable(readPage(name), name));
}

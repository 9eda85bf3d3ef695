import { readFileSync, writeFileSync } from 'node:fs';
import type { InputField, InputFields } from '../src/fields/index.ts';
import { rules } from '../src/rules.ts';

/** The page that holds the tables of commands and fields. */
export const PAGE = new URL('../docs/commands.md', import.meta.url);

const TABLES = { allowed, refused, names, fields } as const;

/** The names of the tables. */
export const NAMES = Object.keys(TABLES) as (keyof typeof TABLES)[];

/** The page with its tables as they follow from the rules. */
export function withTables(text: string): string {
  return NAMES.reduce((page, name) => {
    const [begin, end] = [`<!-- ${name}: test/readme-commands.ts -->`, `<!-- /${name} -->`];
    const [head, rest, ...more] = page.split(begin);
    const tail = rest?.split(end)[1];
    if (head === undefined || tail === undefined || more.length > 0)
      throw new Error(`The page has no place for the table ${name}.`);
    return `${head}${begin}\n\n${TABLES[name]()}\n\n${end}${tail}`;
  }, text);
}

/** The page as it is. */
export function readPage(): string {
  return readFileSync(PAGE, 'utf8');
}

function allowed(): string {
  const rows = plans().map(([name, { method, target, presign }]) => {
    const where = { object: 'an object', listing: 'a listing', batch: 'a batch of objects' }[target];
    return `\`${name}\` | ${method}, ${where} | ${presign === 'allowed' ? 'yes' : cell(presign.why)}`;
  });
  return table(['command', '', 'presigned'], rows);
}

function refused(): string {
  const groups = new Map<string, string[]>();
  for (const [name, rule] of Object.entries(rules)) {
    if (rule.kind === 'refuse') note(groups, `${cell(rule.why)} | ${cell(rule.instead)}`, short(name));
  }
  return grouped(['commands', 'why', 'instead'], groups);
}

/** What every field that names something is taken for. */
function names(): string {
  const groups = new Map<string, string[]>();
  for (const [command, { input }] of plans()) {
    for (const [path, field] of walk(input)) {
      const meaning = MEANINGS[field.as];
      if (meaning !== undefined) note(groups, meaning, `${path}|${command}`);
    }
  }
  return table(
    ['fields', 'of', 'are'],
    [...groups].map(([meaning, list]) => {
      const pairs = list.map((one) => one.split('|'));
      return `${listed(pairs.map(([path = '']) => path))} | ${listed(pairs.map(([, command = '']) => command))} | ${meaning}`;
    }),
  );
}

const MEANINGS: Readonly<Partial<Record<InputField['as'], string>>> = {
  bucket: 'one of `tenant.buckets`; in its place',
  key: "put behind the tenant's prefix",
  prefix: "put behind the tenant's prefix, which stands there also when it is left out",
  marker: "put behind the tenant's prefix",
  token: 'opened; sealed to tenant, bucket and prefix',
  uploadId: 'opened; sealed to tenant, bucket and key',
  uploadIdMarker: 'opened; sealed to tenant and bucket',
  copySource: "decoded once, checked, put behind the tenant's prefix, encoded again",
  version: 'a version id of S3, of a key of the tenant',
  tags: 'tags whose keys are in `tenant.tags`',
  tagKey: 'one of `tenant.tags`',
  metadata: 'any names but those that begin with `tk-`',
};

function fields(): string {
  const groups = new Map<string, string[]>();
  for (const [, { input }] of plans()) {
    for (const [path, row] of decided(input)) {
      if ('kind' in row) note(groups, `${cell(row.why)} | ${cell(row.instead)}`, path);
      else if (row.values !== undefined)
        note(groups, `only ${listed(row.values)} | one of these, or none`, path);
    }
  }
  return grouped(['fields', 'why', 'instead'], groups);
}

type Plan = (typeof rules.GetObjectCommand)['rewrite'];

function plans(): [string, Plan][] {
  return Object.entries(rules).flatMap(([name, rule]) =>
    rule.kind === 'rewrite' ? [[short(name), rule.rewrite] as [string, Plan]] : [],
  );
}

function decided(rows: InputFields, path = ''): [string, InputFields[string]][] {
  return Object.entries(rows).flatMap(([name, row]) => {
    const at = `${path}${name}`;
    if ('kind' in row || row.fields === undefined) return [[at, row]];
    return decided(row.fields, `${at}${row.as === 'list' ? '[]' : ''}.`);
  });
}

function walk(rows: InputFields): [string, InputField][] {
  return decided(rows).flatMap(([path, row]) => ('kind' in row ? [] : [[path, row] as [string, InputField]]));
}

const short = (name: string): string => name.replace(/Command$/, '');

function note(groups: Map<string, string[]>, key: string, name: string): void {
  groups.set(key, [...(groups.get(key) ?? []), name]);
}

function grouped(head: readonly string[], groups: ReadonlyMap<string, readonly string[]>): string {
  return table(
    head,
    [...groups].map(([reason, list]) => `${listed(list)} | ${reason}`),
  );
}

function listed(list: readonly string[]): string {
  return [...new Set(list)]
    .sort()
    .map((name) => `\`${name}\``)
    .join(', ');
}

function table(head: readonly string[], rows: readonly string[]): string {
  return [head.join(' | '), head.map(() => '---').join('|'), ...rows].map((row) => `| ${row} |`).join('\n');
}

function cell(text: string): string {
  return text.replaceAll('|', String.raw`\|`);
}

if (import.meta.main) writeFileSync(PAGE, withTables(readPage()));

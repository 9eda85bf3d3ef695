import { stripVTControlCharacters } from 'node:util';
import pc from 'picocolors';
import type { Attempt } from './surface.ts';

/** What the summary has one row of, per surface. */
export interface Row {
  readonly surface: string;
  readonly own: boolean;
  readonly other: boolean;
  readonly none: boolean;
  readonly erased: boolean | undefined;
}

export const heading = (text: string): void => console.log(`\n${pc.bold(text)}`);
export const line = (text: string): void => console.log(text);

/** Prints what was tried, one line each; answers whether all of it came back as it should. */
export function attempts(kind: string, list: readonly Attempt[]): boolean {
  for (const { tried, cameBack, asItShouldBe } of list) {
    const mark = asItShouldBe ? pc.green('✓') : pc.red('✗');
    console.log(`  ${mark} ${pc.dim(kind.padEnd(13))} ${tried.padEnd(58)} ${pc.dim('→')} ${cameBack}`);
  }
  return list.length > 0 && list.every(({ asItShouldBe }) => asItShouldBe);
}

/** Prints one fact with its verdict; answers the verdict. */
export function fact(text: string, holds: boolean): boolean {
  console.log(`  ${holds ? pc.green('✓') : pc.red('✗')} ${text}`);
  return holds;
}

/** Prints the summary table. */
export function summary(rows: readonly Row[]): void {
  const head = ['surface', 'own read', 'other tenant', 'no tenant', 'erased'];
  const cells = rows.map(({ surface, own, other, none, erased }) => [
    surface,
    own ? pc.green('works') : pc.red('BROKEN'),
    other ? pc.green('unreachable') : pc.red('REACHED'),
    none ? pc.green('refused') : pc.red('NOT REFUSED'),
    erased === undefined ? pc.dim('–') : erased ? pc.green('nothing left') : pc.red('LEFTOVERS'),
  ]);
  const widths = head.map((text, column) =>
    Math.max(text.length, ...cells.map((row) => stripVTControlCharacters(row[column] ?? '').length)),
  );
  const print = (row: readonly string[]): void =>
    console.log(
      `  ${row.map((cell, column) => cell + ' '.repeat((widths[column] ?? 0) - stripVTControlCharacters(cell).length)).join('   ')}`,
    );
  print(head.map((text) => pc.bold(text)));
  print(widths.map((width) => '─'.repeat(width)));
  for (const row of cells) print(row);
}

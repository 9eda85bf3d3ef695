import { ConfigError } from '@tenantkit/core';
import { keyProblem } from './grammar.ts';
import type { StorageNames } from './names.ts';

const SUBJECT = '{subject}';
const TENANT = '{tenant}';
const WILD = /\*\*|\*|\?/g;

/** A pattern of logical keys with a person's id in it. */
export interface Pattern {
  /** What the physical keys begin with. */
  readonly prefix: string;
  /** A logical key that it matches. */
  readonly example: string;
  /** Whether it matches a logical key. */
  matches(key: string): boolean;
}

/**
 * Reads a pattern: `?` is one character and `*` any number of them within a folder, `**` also across folders.
 *
 * @param prefix - of the tenant's physical keys
 */
export function readPattern(pattern: string, subject: string, prefix: string): Pattern {
  const own = pattern.replace(SUBJECT, () => subject);
  const tokens = tokensOf(own);
  return {
    prefix: `${prefix}${own.split(WILD, 1)[0] ?? ''}`,
    example: own.replace(WILD, 'c'),
    matches: (key) => match(tokens, key).isMatch,
  };
}

/**
 * Refuses patterns that no key can match: an erasure would find nothing, and say so.
 *
 * @throws ConfigError that names the pattern by its place in the option
 */
export function assertPatterns(patterns: readonly string[], { template }: StorageNames): void {
  for (const [index, pattern] of patterns.entries()) {
    const problem = problemOf(pattern, template);
    if (problem === undefined) continue;
    const [what, hint] = problem;
    throw new ConfigError({
      surface: 'storage',
      operation: 'options',
      problem: `tenant.subjects.${index} is a pattern that no key can match: ${what}`,
      hint,
    });
  }
}

function problemOf(pattern: string, template: string): readonly [what: string, hint: string] | undefined {
  const [head = '', tail = ''] = template.split(TENANT);
  const named = pattern.slice(head.length);
  const folder = named.indexOf(tail);
  const repeats =
    head !== '' && pattern.startsWith(head) && folder > 0 && !named.slice(0, folder).includes(SUBJECT);
  if (repeats || pattern.includes(TENANT)) return ['it begins with the tenant’s prefix', LOGICAL];
  const example = pattern.replace(SUBJECT, 'x').replace(WILD, 'c');
  const problem = keyProblem(example, { field: 'a key like it' });
  return problem && [problem.why, problem.instead];
}

const LOGICAL = `Write it as the tenant does, without the prefix: users/${SUBJECT}/**.`;

/** A character, or what stands for some. */
export type Token = { readonly char: string } | '?' | '*' | '**';

/** The tokens of a pattern that names its person. */
export function tokensOf(pattern: string): Token[] {
  const wild = pattern.match(WILD) ?? [];
  return pattern.split(WILD).flatMap((text, index) => {
    const sign = wild[index] as '?' | '*' | '**' | undefined;
    const chars = Array.from(text, (char): Token => ({ char }));
    return sign === undefined ? chars : [...chars, sign];
  });
}

/**
 * Whether tokens match a text. All ways to read it are followed at once, character by character, each place in the
 * pattern once: regular expressions try one way after the other, for which a key that a tenant has chosen takes seconds.
 *
 * @returns also how many steps it took: at most one for each character and token
 */
export function match(
  tokens: readonly Token[],
  text: string,
): { readonly isMatch: boolean; readonly steps: number } {
  let steps = 0;
  let places = reached(tokens, [0]);
  for (const char of text) {
    const next: number[] = [];
    for (const place of places) {
      steps += 1;
      const token = tokens[place];
      if (token === '**' || (token === '*' && char !== '/')) next.push(place);
      else if (token === '?' ? char !== '/' : typeof token === 'object' && token.char === char)
        next.push(place + 1);
    }
    places = reached(tokens, next);
    if (places.length === 0) break;
  }
  return { isMatch: places.includes(tokens.length), steps };
}

/** Each place once, with those behind signs that may stand for nothing. They come in order, and stay so. */
function reached(tokens: readonly Token[], places: readonly number[]): number[] {
  const all: number[] = [];
  for (const first of places) {
    let place = first;
    while (place > (all.at(-1) ?? -1)) {
      all.push(place);
      if (tokens[place] !== '*' && tokens[place] !== '**') break;
      place += 1;
    }
  }
  return all;
}

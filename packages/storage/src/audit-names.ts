import { runInScope } from '@tenantkit/core';
import type { Code, Found } from './audit-findings.ts';
import { isControl } from './control-id.ts';
import type { Engine } from './engine.ts';
import { keyProblem } from './grammar.ts';
import type { Entry } from './listing.ts';
import { RESERVED, SUBJECTS } from './spots.ts';

/** Tells whether there is a tenant of that id. */
export type IsTenant = (tenant: string) => boolean | Promise<boolean>;

/** How names are judged. */
export interface Judging {
  readonly engine: Pick<Engine, 'names' | 'fence'>;
  /** What keys begin with that something else keeps in the same bucket. */
  readonly known: readonly string[];
  readonly isTenant: IsTenant | undefined;
  /** Uploads that were begun before are reported. */
  readonly uploadsSince: Date;
}

/** What is wrong with a name, and how. */
type Verdict = readonly [code: Code, how?: string];

const DAY = 24 * 60 * 60_000;

// `tk!subjects/<tenant>/<subject>/…`, with ids of core.
const SUBJECT_MARKER = /^([A-Za-z0-9_-]{1,64})\/[A-Za-z0-9_-]{1,64}\/./s;

/** Judges the names in a bucket, page by page; of a key with many versions only once. */
export class Names {
  readonly #judging: Judging;
  readonly #asked = new Map<string, boolean>();
  readonly #counts = new Map<string, { readonly code: Code; readonly name: string; count: number }>();
  #before: ReadonlySet<string> = new Set();

  constructor(judging: Judging) {
    this.#judging = judging;
  }

  /** Judges a page of objects or versions; pages come in the order of keys. */
  async page(entries: readonly Entry[]): Promise<Found[]> {
    const current = new Map<string, boolean>();
    for (const { key, current: is = false } of entries) current.set(key, (current.get(key) ?? false) || is);
    const found: Found[] = this.#unnameable(entries.filter(({ key }) => !this.#before.has(key)));
    for (const [key, isCurrent] of current) {
      if (this.#before.has(key)) continue;
      const more = isCurrent
        ? undefined
        : 'It is deleted, but earlier versions or a delete marker are there.';
      found.push(...named(key, await this.#judge(key), more));
    }
    this.#before = new Set(current.keys());
    return found;
  }

  /** Judges a page of unfinished uploads. */
  async uploads(entries: readonly Entry[]): Promise<Found[]> {
    const more = 'It is an unfinished upload.';
    const found: Found[] = this.#unnameable(entries, more);
    for (const { key, at } of entries) {
      found.push(...named(key, await this.#judge(key), more));
      if (at === undefined || at >= this.#judging.uploadsSince) continue;
      const days = Math.floor((Date.now() - at.getTime()) / DAY);
      found.push({ code: 'old_upload', name: key, more: `It was begun ${days} days ago.` });
    }
    return found;
  }

  /** What is told once per tenant. */
  *counts(): Generator<Found> {
    for (const { code, name, count } of this.#counts.values())
      yield { code, name, more: `There are ${count}.` };
  }

  /** What no request can name, no erasure removes. */
  #unnameable(entries: readonly Entry[], more?: string): Found[] {
    const names = new Set(entries.flatMap(({ unnamed }) => unnamed ?? []));
    return [...names].map((name) => ({ code: 'unnameable_key', name, more }));
  }

  async #judge(key: string): Promise<Verdict[]> {
    const { engine, known } = this.#judging;
    const { names, fence } = engine;
    if (key.startsWith(RESERVED)) return this.#reserved(key);
    const tenant = names.tenantOf(key);
    if (tenant === undefined)
      return known.some((prefix) => key.startsWith(prefix)) ? [] : [['outside_every_tenant']];
    if (isControl(tenant)) return [['control_left']];
    const verdicts: Verdict[] = [];
    const prefix = names.prefix(tenant);
    if (fence?.state(tenant) === 'erased') verdicts.push(['erased_tenant']);
    else if (!(await this.#exists(tenant))) this.#count('unknown_tenant', prefix);
    const logical = key.slice(prefix.length);
    if (logical.startsWith(prefix)) this.#count('doubled_prefix', `${prefix}${prefix}`);
    const problem = keyProblem(logical, { prefix, field: 'What follows the prefix' });
    if (problem !== undefined) verdicts.push(['refused_name', `${problem.why}.`]);
    return verdicts;
  }

  async #reserved(key: string): Promise<Verdict[]> {
    const [, tenant] = (key.startsWith(SUBJECTS) && SUBJECT_MARKER.exec(key.slice(SUBJECTS.length))) || [];
    if (tenant === undefined) return [['unknown_reserved_name']];
    if (isControl(tenant)) return [['control_left']];
    if (this.#judging.engine.fence?.state(tenant) === 'erased') return [['erased_tenant']];
    if (!(await this.#exists(tenant))) this.#count('unknown_tenant', `${SUBJECTS}${tenant}/`);
    return [];
  }

  async #exists(tenant: string): Promise<boolean> {
    const { isTenant } = this.#judging;
    if (isTenant === undefined) return true;
    const asked = this.#asked.get(tenant);
    if (asked !== undefined) return asked;
    // The caller's code: it does not run where the boundary is lifted.
    const known = await runInScope(undefined, () => isTenant(tenant));
    this.#asked.set(tenant, known);
    return known;
  }

  #count(code: Code, name: string): void {
    const id = `${code} ${name}`;
    const held = this.#counts.get(id);
    if (held === undefined) this.#counts.set(id, { code, name, count: 1 });
    else held.count += 1;
  }
}

function named(name: string, verdicts: readonly Verdict[], more: string | undefined): Found[] {
  return verdicts.map(([code, how]) => {
    const told = [how, more].filter((text) => text !== undefined);
    return { code, name, more: told.length === 0 ? undefined : told.join(' ') };
  });
}

import type { Form, Kind, Target } from './channels.ts';
import type { Holder } from './holders.ts';

/** One logical name that somebody has subscribed to. */
export interface Holding {
  readonly holder: Holder;
  readonly logical: Buffer;
  readonly targets: readonly Target[];
  /** How many calls stand for it: one that fails takes away no other. */
  claims: number;
}

/** By the logical name. */
export type Held = Map<string, Holding>;

/** What is subscribed to on one client, by the physical names: the server knows each once, however many want it. */
export class Holdings {
  readonly #physical: Readonly<Record<Kind, Map<string, Map<Holding, Form>>>> = {
    subscribe: new Map(),
    psubscribe: new Map(),
    ssubscribe: new Map(),
  };

  claim(holder: Holder, kind: Kind, logical: Buffer, targets: readonly Target[]): Holding {
    const held = holder.held[kind];
    let holding = held.get(keyFor(logical));
    if (holding === undefined) {
      holding = { holder, logical, targets, claims: 0 };
      held.set(keyFor(logical), holding);
      for (const { name, form } of targets) {
        const key = keyFor(name);
        const holdings = this.#physical[kind].get(key) ?? new Map<Holding, Form>();
        this.#physical[kind].set(key, holdings.set(holding, form));
      }
    }
    holding.claims += 1;
    return holding;
  }

  /** @returns whether it was there */
  drop(kind: Kind, holding: Holding): boolean {
    const held = holding.holder.held[kind];
    if (held.get(keyFor(holding.logical)) !== holding) return false;
    held.delete(keyFor(holding.logical));
    for (const { name } of holding.targets) {
      const holdings = this.#physical[kind].get(keyFor(name));
      holdings?.delete(holding);
      if (holdings?.size === 0) this.#physical[kind].delete(keyFor(name));
    }
    return true;
  }

  has(kind: Kind, name: Buffer): boolean {
    return this.#physical[kind].has(keyFor(name));
  }

  /** Who wants a physical name, and what it is for each; as it is now. */
  of(kind: Kind, name: Buffer): [Holding, Form][] {
    return [...(this.#physical[kind].get(keyFor(name)) ?? [])];
  }

  /** What stands for these physical names, each once: a pattern of keys may have two. */
  behind(found: ReadonlyMap<Kind, readonly Buffer[]>): Set<Holding> {
    const all = [...found].flatMap(([kind, names]) => names.flatMap((name) => this.of(kind, name)));
    return new Set(all.map(([holding]) => holding));
  }

  /** The physical names that somebody wants of whom `isMeant` holds. */
  names(kind: Kind, isMeant: (holder: Holder) => boolean): Buffer[] {
    return [...this.#physical[kind]].flatMap(([name, holdings]) =>
      [...holdings.keys()].some(({ holder }) => isMeant(holder)) ? Buffer.from(name, 'latin1') : [],
    );
  }

  /** The physical names of what was dropped, but those that somebody else still wants. */
  unwanted(kind: Kind, dropped: readonly Holding[]): Buffer[] {
    return namesOf(dropped).filter((name) => !this.has(kind, name));
  }
}

/** A name as text, of one character per byte. */
export function keyFor(name: Buffer): string {
  return name.toString('latin1');
}

/** The physical names, each once. */
export function namesOf(holdings: readonly Holding[]): Buffer[] {
  const names = holdings.flatMap(({ targets }) => targets.map(({ name }) => [keyFor(name), name] as const));
  return [...new Map(names).values()];
}

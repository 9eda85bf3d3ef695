import { refusal, refuse } from '@tenantkit/core';
import type { Command } from 'ioredis';
import type { Argument } from './keyspec.ts';
import type { OwnPipeline } from './pipeline.ts';
import { idOf, portionsOfNames } from './portions.ts';

/** Some keys of one tenant, in logical names. */
export interface KeyPage {
  readonly keys: readonly Buffer[];
  /** Removes them. @returns how many were still there */
  remove(): Promise<number>;
}

/**
 * The keys of the tenant that asks, wherever they are found: by walking the keyspace, or in a registry. All of it
 * is called in the scope of that tenant.
 */
export interface TenantKeys {
  /**
   * Every key that is there all the time comes at least once, and may come twice.
   *
   * @param removes - whether all pages are removed
   * @throws {@link OperationRefusedError} when slots of a cluster go on moving
   */
  pages(pattern?: Argument, removes?: boolean): AsyncIterable<KeyPage>;
  count(): Promise<number>;
  /** One of them; `undefined` when there is none. */
  random(): Promise<Buffer | undefined>;
}

/** What is asked of a client of this package: the form of its replies does not matter. */
export interface Node {
  sendCommand(command: Command): unknown;
  pipeline(): object;
}

/** Where keys are found by walking. */
export interface Keyspace {
  /** The servers that hold keys, each with clients of this package, and what tells whether slots have moved. */
  topology(): Promise<Places>;
  /** Whether keys of one server may stand in different slots, and move to another while they are walked. */
  readonly isCluster: boolean;
  /** A key of the server, if the tenant owns the one that the server has picked. */
  pick(node: Node): Promise<Buffer | undefined>;
}

/** Where the keys are at one moment; see `Topology`. */
export interface Places {
  readonly masters: readonly Node[];
  readonly lines: string;
  readonly settled: string | undefined;
}

type Results = readonly (readonly [error: Error | null, count?: unknown])[];

// Keys per SCAN: at this size one command holds the server up for less than a millisecond.
const PAGE = 1000;

// How often the server is asked to pick a key before all are walked: enough for a tenant with a share of 5 %.
const PICKS = 64;

// So often a walk begins anew because slots have moved.
const MAX_WALKS = 20;

const RESHARDING = refuse(
  'slots of the cluster went on moving, and with them keys may have got past the walk',
  'Call it again when resharding has ended.',
);

/** The keys of a tenant, found with SCAN on every master. The cost is that of the whole keyspace. */
export class WalkedKeys implements TenantKeys {
  readonly #keyspace: Keyspace;

  constructor(keyspace: Keyspace) {
    this.#keyspace = keyspace;
  }

  async *pages(pattern: Argument = '*', removes = false): AsyncGenerator<KeyPage> {
    let before = await this.#keyspace.topology();
    // Walks in a row with the same slots everywhere.
    let steady = 0;
    for (let walk = 1; walk <= MAX_WALKS; walk += 1) {
      for (const node of before.masters) yield* this.#pagesOf(node, pattern);
      const after = await this.#keyspace.topology();
      steady = after.lines === before.lines ? steady + 1 : 0;
      if (steady > 0 && after.settled !== undefined) return;
      // A slot that moves has one direction: what the first walk has missed was on its new node in the second. But
      // there it cannot be removed yet.
      if (steady > 1 && !removes) return;
      before = after;
    }
    throw refusal('cache', removes ? 'flushdb' : 'keys', RESHARDING);
  }

  async *#pagesOf(node: Node, pattern: Argument): AsyncGenerator<KeyPage> {
    const { isCluster } = this.#keyspace;
    let cursor: Argument = '0';
    do {
      const [next, keys] = await scan(node, cursor, pattern);
      cursor = next;
      if (keys.length > 0)
        yield { keys, remove: () => removeBy(isCluster ? unlinkEach : unlink, node, keys) };
    } while (String(cursor) !== '0');
  }

  async count(): Promise<number> {
    const keys = new Set<string>();
    for await (const page of this.pages()) for (const key of page.keys) keys.add(idOf(key));
    return keys.size;
  }

  /**
   * The server picks first, as long as there is a good chance that it picks one of this tenant's; where it never
   * does, all keys are walked, and each of this tenant's has the same chance.
   */
  async random(): Promise<Buffer | undefined> {
    const { masters: nodes } = await this.#keyspace.topology();
    const picks = Array.from({ length: PICKS }, () => this.#keyspace.pick(anyOf(nodes)));
    const picked = (await Promise.all(picks)).find((key) => key !== undefined);
    if (picked !== undefined) return picked;
    let chosen: Buffer | undefined;
    let seen = 0;
    for await (const { keys } of this.pages()) {
      for (const key of keys) {
        seen += 1;
        if (Math.random() * seen < 1) chosen = key;
      }
    }
    return chosen;
  }
}

/**
 * Sends a command for whoever runs now. Not by a method of the client, which goes through the transformers that
 * anybody may have set for all commands of that name.
 */
export function ask(node: Pick<Node, 'sendCommand'>, name: string, args: Argument[]): Promise<unknown> {
  const command = commandOf(name, args);
  node.sendCommand(command);
  return command.promise;
}

async function scan(node: Node, cursor: Argument, pattern: Argument): Promise<[Buffer, Buffer[]]> {
  const page = await ask(node, 'scan', [cursor, 'MATCH', pattern, 'COUNT', `${PAGE}`]);
  return page as [Buffer, Buffer[]];
}

async function removeBy(by: typeof unlink, node: Node, keys: readonly Buffer[]): Promise<number> {
  let removed = 0;
  for (const some of portionsOfNames(keys)) removed += await by(node, some);
  return removed;
}

async function unlink(node: Node, keys: readonly Buffer[]): Promise<number> {
  try {
    return Number(await ask(node, 'unlink', [...keys]));
  } catch (error) {
    // A node that `cluster.nodes()` gives is a client of one server, and knows of no cluster.
    if (!(error instanceof Error && error.message.startsWith('CROSSSLOT '))) throw error;
    return unlinkEach(node, keys);
  }
}

// The keys of one node are not in one slot.
async function unlinkEach(node: Node, keys: readonly Buffer[]): Promise<number> {
  const pipeline = node.pipeline() as OwnPipeline;
  for (const key of keys) pipeline.sendCommand(commandOf('unlink', [key]));
  let removed = 0;
  for (const [error, count] of (await pipeline.exec()) as Results) {
    // Its slot moves away: the next walk finds it on its new node.
    if (error !== null && !/^(?:MOVED|ASK|TRYAGAIN) /.test(error.message)) throw error;
    removed += Number(count ?? 0);
  }
  return removed;
}

/** A command that is answered with what the server says, untransformed. */
export function commandOf(name: string, args: Argument[]): Command {
  const { promise, resolve, reject } = Promise.withResolvers();
  return { name, args, promise, resolve, reject } as unknown as Command;
}

function anyOf<T>(items: readonly T[]): T {
  return items[Math.floor(Math.random() * items.length)] as T;
}

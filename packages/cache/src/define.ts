import { ConfigError, OperationRefusedError, refusal, refuse } from '@tenantkit/core';
import { Pipeline, type Redis as RawRedis } from 'ioredis';
import { z } from 'zod';
import { pipelinesOf, type PipelineType } from './pipeline.ts';
import { ruleOf } from './rules.ts';
import type { Scripts } from './scripts.ts';

/** A script that becomes a method of the client; as with ioredis, and with what it is held to. */
export interface ScriptDefinition {
  /** The text of the script. */
  readonly lua: string;
  /** How many of the arguments are keys; when it is left away, the first argument of every call says it. */
  readonly numberOfKeys?: number | undefined;
  /** Whether a Cluster may send it to a replica, by default `false`. */
  readonly readOnly?: boolean | undefined;
  /**
   * `keys-only` states that the script touches nothing but its `KEYS`: no other key, channel or database. Without
   * it the text has to be in the option `tenant.scripts`.
   */
  readonly tenant?: 'keys-only' | undefined;
}

/** What `defineCommand` of ioredis takes. */
export interface PlainDefinition {
  lua: string;
  numberOfKeys?: number;
  readOnly?: boolean;
}

/** Defines a command with ioredis. */
export type MakeCommand = (name: string, definition: PlainDefinition) => void;

/** What whoever defines a command may do. */
export interface Definer {
  /** Whether the client may get a further method: not inside one of several tenants. */
  readonly mayChange: boolean;
  /** Whether the declaration counts: a tenant cannot vouch for a script, only the service can. */
  readonly mayDeclare: boolean;
}

const definition = z.object({
  lua: z.string(),
  // ioredis takes null for undefined.
  numberOfKeys: z.int().nonnegative().nullish(),
  readOnly: z.boolean().optional(),
  tenant: z.literal('keys-only').optional(),
});

// What clients and pipelines of ioredis get only when they need it; and whoever awaits a client calls `then`.
const LATER: ReadonlySet<string> = new Set([
  'condition',
  'leftRedirections',
  'nodeifiedPromise',
  'preferKey',
  'prevCommandQueue',
  'prevCondition',
  'shardedSubscribers',
  'slotsTimer',
  'socketTimeoutTimer',
  'stream',
  'subscriberGroupEmitter',
  'then',
]);

const NOTHING = Object.freeze({});

const TAKEN = refuse(
  'the name is that of a command or of another member of the client, which it would replace for every tenant',
  'Define it under a name that neither the client nor its pipelines have.',
);
const NEW_COMMAND = refuse(
  'it is not in the rules table, so nobody has decided whether it stays inside a tenant',
  'Update tenantkit; until then use acrossTenants({ reason, actor }, () => redis.call(…)).',
);
const INSIDE = refuse(
  'its name becomes a method of the client for every tenant',
  'Define it when the service starts, outside of any tenant, or in the option scripts of the client.',
);

/** The commands that are defined on one client. */
export class Definitions {
  readonly #client: object;
  readonly #scripts: Scripts;
  readonly #make: MakeCommand;
  readonly #defined = new Map<string, PlainDefinition>();
  readonly #builtins = new Set<string>();
  // The scripts that ioredis has made of them.
  readonly #made: Record<string, object> = {};
  // What whoever asks is shown of these: the same until another is defined.
  #shown: object = NOTHING;
  #pipelines: PipelineType | undefined;
  #isMaking = false;
  #isPiping = false;

  /** @param make - defines a command with ioredis */
  constructor(client: object, scripts: Scripts, make: MakeCommand) {
    this.#client = client;
    this.#scripts = scripts;
    this.#make = make;
    // ioredis makes a method of every pipeline of every tenant out of them: whoever asks gets a copy.
    Object.defineProperty(client, 'scriptsSet', {
      get: () => (this.#isMaking ? this.#made : this.#isPiping ? NOTHING : this.#shown),
    });
    Object.defineProperty(client, 'addedBuiltinSet', {
      get: () => new Set(this.#isPiping ? [] : this.#builtins),
    });
  }

  /** Makes a pipeline of ioredis, without methods for what is defined: those are of the class of ours. */
  pipe<T>(make: () => T): T {
    this.#isPiping = true;
    try {
      return make();
    } finally {
      this.#isPiping = false;
    }
  }

  /** What the pipelines of the client are made with. */
  get pipelines(): PipelineType {
    return (this.#pipelines ??= pipelinesOf(this.#client, [...this.#defined.keys(), ...this.#builtins]));
  }

  /**
   * Makes a command of the table a method, also of the pipelines made afterwards.
   *
   * @param make - with ioredis
   * @throws {@link OperationRefusedError} for one without a row
   */
  addBuiltin(name: string, make: (name: string) => void): void {
    if (typeof name !== 'string' || ruleOf(name) === undefined)
      throw refusal('cache', 'addBuiltinCommand', NEW_COMMAND);
    // In one letter case: in others the same command would be a further method each time.
    const lower = name.toLowerCase();
    // Of all tenants: `multi` or `exec` put anew would be a plain command, past the guard of transactions.
    if (lower in this.#client) return;
    make(lower);
    this.#builtins.add(lower);
    this.#pipelines = undefined;
  }

  /**
   * Defines those of the option `scripts`.
   * @throws {@link ConfigError}
   */
  defineAll(given: unknown): void {
    try {
      for (const [name, definition] of Object.entries(given ?? {}))
        this.define(name, definition, { mayChange: true, mayDeclare: true });
    } catch (error) {
      if (!(error instanceof OperationRefusedError)) throw error;
      const { why, instead } = error;
      throw new ConfigError({ surface: 'cache', operation: 'scripts', problem: why, hint: instead });
    }
  }

  /**
   * Defines a command.
   *
   * @param definer - what may be done by whoever defines it
   * @throws {@link OperationRefusedError}
   * @throws {@link ConfigError} for a definition that cannot be one
   */
  define(name: unknown, given: unknown, { mayChange, mayDeclare }: Definer): void {
    const { tenant, ...plain } = read(given);
    const own: PlainDefinition = withoutUndefined(plain);
    if (typeof name !== 'string') throw refusal('cache', 'defineCommand', TAKEN);
    // A library may well define what it needs again at every use.
    if (isSame(this.#defined.get(name), own)) return;
    if (!mayChange) throw refusal('cache', 'defineCommand', INSIDE);
    if (this.#isTaken(name)) throw refusal('cache', 'defineCommand', TAKEN);
    const isDeclared = tenant === 'keys-only' && mayDeclare;
    const undeclared = isDeclared ? undefined : this.#scripts.undeclared(own.lua);
    if (undeclared !== undefined) throw refusal('cache', 'defineCommand', undeclared);
    this.#scripts.define(name, own.lua);
    this.#isMaking = true;
    try {
      this.#make(name, own);
    } finally {
      this.#isMaking = false;
    }
    // Another SHA-1 in it would be another script for everybody.
    Object.freeze(this.#made[name]);
    this.#shown = Object.freeze({ ...this.#made });
    this.#defined.set(name, own);
    this.#pipelines = undefined;
  }

  /** Defines the same on another client, which is lent. */
  copyTo(other: Definitions): void {
    for (const [name, own] of this.#defined)
      other.define(name, { ...own, tenant: 'keys-only' }, { mayChange: true, mayDeclare: true });
  }

  #isTaken(name: string): boolean {
    if (name === '' || LATER.has(name)) return true;
    // A pipeline in the array form finds its methods in any letter case.
    if (ruleOf(name.replace(/Buffer$/, '')) !== undefined) return true;
    if (this.#defined.has(name)) return false;
    // Pipelines take over what is defined, under the same name.
    const pipeline = new Pipeline(this.#client as RawRedis);
    return [name, `${name}Buffer`].some((member) => member in this.#client || member in pipeline);
  }
}

function read(given: unknown): z.infer<typeof definition> {
  const result = definition.safeParse(given);
  if (result.success) return result.data;
  throw new ConfigError({
    surface: 'cache',
    operation: 'defineCommand',
    problem: z.prettifyError(result.error),
    hint: "Give { lua, numberOfKeys?, readOnly?, tenant?: 'keys-only' }.",
  });
}

function withoutUndefined({ lua, numberOfKeys, readOnly }: z.infer<typeof definition>): PlainDefinition {
  return Object.freeze({
    lua,
    ...(typeof numberOfKeys === 'number' ? { numberOfKeys } : {}),
    ...(readOnly === true ? { readOnly } : {}),
  });
}

function isSame(one: PlainDefinition | undefined, other: PlainDefinition): boolean {
  return one?.lua === other.lua && one.numberOfKeys === other.numberOfKeys && one.readOnly === other.readOnly;
}

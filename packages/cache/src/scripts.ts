import { Command } from 'ioredis';
import { refusal, refuse } from '@tenantkit/core';
import { createHash } from 'node:crypto';
import { z } from 'zod';
import { word, type Argument } from './keyspec.ts';
import type { Mark } from './mark.ts';
import { isFollowed } from './rare.ts';
import type { Row } from './rows.ts';
import { type Caller } from './caller.ts';
import { Sent } from './sent.ts';

/**
 * A script that somebody has read: it touches nothing but the keys that a caller hands it as `KEYS`.
 *
 * `sha1` is the SHA-1 of the text, in lower-case hexadecimal digits, as `SCRIPT LOAD` answers it: one byte more or
 * less is another script. `function` is the name of a function that an operator has loaded with `FUNCTION LOAD`;
 * Redis finds it by this name alone, so whoever replaces it answers for the new text.
 */
export type AllowedScript = { readonly sha1: string } | { readonly function: string };

const SHA1 = /^[0-9a-f]{40}$/;
const FUNCTION = /^\w{1,64}$/;

/** Schema of the option `scripts`. */
export const allowedScripts: z.ZodType<readonly AllowedScript[]> = z.array(
  z.union(
    [
      z.strictObject({ sha1: z.string().regex(SHA1) }),
      z.strictObject({ function: z.string().regex(FUNCTION) }),
    ],
    "must be { sha1: '…' } with 40 lower-case hexadecimal digits, or { function: '…' }",
  ),
);

// Texts are kept to be hashed once; one of an allowed script can be written in many ways only with broken UTF-16.
const MAX_TEXTS = 1000;

/** Which scripts may run on one client, inside a tenant. */
export class Scripts {
  readonly #sha1s = new Set<string>();
  readonly #functions = new Set<string>();
  readonly #hashed = new Map<string, string>();
  // What `defineCommand` has declared, by SHA-1.
  readonly #defined = new Map<string, Defined>();
  readonly #methods = new Set<string>();

  constructor(allowed: readonly AllowedScript[] = []) {
    for (const script of allowed) {
      if ('sha1' in script) this.#sha1s.add(script.sha1);
      else this.#functions.add(script.function);
    }
  }

  /** Notes a command that is being defined: its calls are sent with its text when the server has it not. */
  define(name: string, lua: string): void {
    const sha1 = sha1Of(lua);
    this.#sha1s.add(sha1);
    if (!this.#defined.has(sha1)) this.#defined.set(sha1, { text: lua, sockets: new WeakSet() });
    this.#methods.add(name).add(`${name}Buffer`);
  }

  /** Whether a method of the client and of its pipelines is a defined command. */
  isMethod(name: string): boolean {
    return this.#methods.has(name);
  }

  /** Why this script must not run, as the parts of an error; `undefined` when it may. */
  undeclared(lua: string): Undeclared | undefined {
    const sha1 = sha1Of(lua);
    return this.#sha1s.has(sha1) ? undefined : undeclared(sha1);
  }

  /** Why a call must not be sent; `undefined` when it may. Never throws. */
  refuse({ where }: Row, args: readonly Argument[]): Error | undefined {
    const missing = CHECKS[where.operation]?.(this, args);
    return missing === undefined ? undefined : refusal('cache', where.operation, missing);
  }

  /** The command that is sent for a call. */
  sent(mark: Mark, row: Row, name: string, args: readonly Argument[], caller: Caller): Sent {
    const defined = row.where.operation === 'evalsha' ? this.#defined.get(word(args[0])) : undefined;
    return defined === undefined
      ? new Sent(mark, row, name, args, caller)
      : new DefinedCall(mark, row, name, args, caller, defined);
  }

  allowsText(text: Argument): Undeclared | undefined {
    const known = typeof text === 'string' ? this.#hashed.get(text) : undefined;
    const sha1 = known ?? sha1Of(text);
    if (!this.#sha1s.has(sha1)) return undeclared(sha1);
    if (typeof text === 'string' && this.#hashed.size < MAX_TEXTS) this.#hashed.set(text, sha1);
    return undefined;
  }

  // In any letter case, as Redis takes it.
  allowsSha1(argument: Argument): Undeclared | undefined {
    const sha1 = word(argument);
    return this.#sha1s.has(sha1) ? undefined : undeclared(SHA1.test(sha1) ? sha1 : undefined);
  }

  allowsFunction(name: Argument): Undeclared | undefined {
    return this.#functions.has(String(name)) ? undefined : UNLISTED_FUNCTION;
  }
}

type Undeclared = ReturnType<typeof refuse>;
type Check = (scripts: Scripts, args: readonly Argument[]) => Undeclared | undefined;

const UNLISTED_FUNCTION = refuse(
  'a function can reach keys that it does not declare, and this one is not in the list of those that do not',
  "Read its text. If it touches nothing but its KEYS, list { function: 'its name' } in the option tenant.scripts.",
);

const text: Check = (scripts, [lua]) => (lua === undefined ? undefined : scripts.allowsText(lua));
const sha1: Check = (scripts, [name]) => (name === undefined ? undefined : scripts.allowsSha1(name));
const name: Check = (scripts, [fn]) => (fn === undefined ? undefined : scripts.allowsFunction(fn));

// By what a script is known in each command that runs, loads or asks for one. Without arguments the server refuses.
const CHECKS: Readonly<Record<string, Check>> = Object.assign(Object.create(null) as Record<string, Check>, {
  eval: text,
  eval_ro: text,
  evalsha: sha1,
  evalsha_ro: sha1,
  fcall: name,
  fcall_ro: name,
  'script exists': (scripts, [, ...sha1s]) =>
    sha1s.map((sha1) => scripts.allowsSha1(sha1)).find((missing) => missing !== undefined),
  'script load': (scripts, [, ...args]) => text(scripts, args),
} satisfies Record<string, Check>);

/** The script of a defined command, and the connections on which it was sent with its text. */
interface Defined {
  readonly text: string;
  readonly sockets: WeakSet<object>;
}

/**
 * A call of a defined command. It is written as EVAL the first time on a connection, then as EVALSHA; when the
 * server has lost the script (NOSCRIPT), ioredis calls it again, and it is written as EVAL.
 *
 * In a transaction it is always EVAL: the other commands of a transaction are done when one says NOSCRIPT, and
 * cannot be done again.
 */
class DefinedCall extends Sent {
  readonly #whole: () => Sent;
  readonly #sockets: WeakSet<object>;
  #socket: object | undefined;

  constructor(
    mark: Mark,
    row: Row,
    name: string,
    args: readonly Argument[],
    caller: Caller,
    { text, sockets }: Defined,
  ) {
    super(mark, row, name, args, caller);
    this.#whole = () => new Sent(mark, row, 'eval', [text, ...args.slice(1)], caller);
    this.#sockets = sockets;
  }

  static {
    // As in Sent: whoever has found one could make another with its class, or give all of them other bytes.
    const { prototype } = this;
    Object.defineProperty(prototype, 'constructor', { value: Command });
    for (const name of ['constructor', 'toWritable'])
      Object.defineProperty(prototype, name, { writable: false, configurable: false });
  }

  override toWritable(socket?: object): string | Buffer {
    this.#socket = socket;
    // Denied since it was admitted: see `deny`.
    if (this.name === 'ping' || socket === undefined) return super.toWritable();
    // What is queued there may never run, and says nothing of what the server has then.
    const isQueued = this.inTransaction || isFollowed(this);
    if (!isQueued && this.#sockets.has(socket)) return super.toWritable();
    if (!isQueued) this.#sockets.add(socket);
    return this.#whole().toWritable();
  }

  override get reject(): (error: Error) => void {
    const reject = super.reject;
    return (error) => {
      if (this.#socket !== undefined && error.message.includes('NOSCRIPT'))
        this.#sockets.delete(this.#socket);
      reject(error);
    };
  }

  override set reject(value) {
    super.reject = value;
  }
}

function undeclared(sha1: string | undefined): Undeclared {
  if (sha1 === undefined)
    return refuse(
      'it names a script by something that is no SHA-1',
      'Give the 40 hexadecimal digits that SCRIPT LOAD has answered.',
    );
  return refuse(
    `a script can reach keys that it does not declare, and the one with the SHA-1 ${sha1} is not declared safe`,
    `Read its text, also when a library has changed it. If it touches nothing but its KEYS, list { sha1: '${sha1}' } in the option tenant.scripts, or define your own with defineCommand(name, { lua, tenant: 'keys-only' }).`,
  );
}

function sha1Of(text: Argument): string {
  return createHash('sha1').update(text).digest('hex');
}

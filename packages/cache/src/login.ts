import { ConfigError, currentScope, refusal, refuse } from '@tenantkit/core';
import type { Argument } from './keyspec.ts';
import { isPlumbing } from './plumbing.ts';

// Options of JavaScript may hold numbers, which ioredis writes as text.
type Part = string | number | null | undefined;

/** As whom somebody is connected. */
interface Credentials {
  readonly username?: Part;
  readonly password?: Part;
}

const NAMES = ['username', 'password'] as const;

const WRITTEN_INSIDE = refuse(
  'as whom all tenants are connected is the service’s to say',
  'Write username and password where no tenant runs, and in no Connector: a timer of the service, a function of the options.',
);

const logins = new WeakMap<object, Login>();

/**
 * As whom a client connects. Servers that hand out tokens want another password every few minutes or hours, and a
 * client, with what is subscribed and lent there, lives longer than that: so the service may write these two of its
 * options, and what is made of the client reads them whenever it connects.
 */
class Login {
  #own: Credentials;
  #origin: Login | undefined;
  #sent: Credentials;

  constructor({ username, password }: Credentials) {
    this.#own = this.#sent = { username, password };
  }

  get current(): Credentials {
    return this.#origin?.current ?? this.#own;
  }

  /** Those that ioredis sends when it sets the connection up: it reads them when it begins to connect. */
  get sent(): Credentials {
    return this.#sent;
  }

  /** A connection is begun. */
  begin(): void {
    this.#sent = this.current;
  }

  /** Reads those of another client from now on, until something is written here. */
  follow(origin: Login): void {
    this.#origin = origin;
  }

  write(name: (typeof NAMES)[number], value: unknown): void {
    if (currentScope()?.tenant !== undefined || isPlumbing())
      throw refusal('cache', `options.${name}`, WRITTEN_INSIDE);
    if (value !== undefined && value !== null && typeof value !== 'string')
      throw new ConfigError({
        surface: 'cache',
        operation: `options.${name}`,
        problem: `${name} is no text`,
        hint: 'Write a string, or null for none.',
      });
    this.#own = { ...this.current, [name]: value };
    this.#origin = undefined;
  }
}

/**
 * Makes `username` and `password` of options two that the service may write, and that a tenant neither writes nor
 * reads.
 */
export function openLogin(options: object): void {
  const login = new Login(options);
  logins.set(options, login);
  for (const name of NAMES)
    Object.defineProperty(options, name, {
      enumerable: true,
      get: () => (currentScope()?.tenant === undefined ? login.current[name] : undefined),
      set(value: unknown) {
        login.write(name, value);
      },
    });
}

/** A copy of the options of a client, to connect with as it does, whoever runs. */
export function withLogin<O extends object>(options: O): O {
  return { ...options, ...logins.get(options)?.current };
}

/**
 * Has what was made of a client connect as that does, whenever it connects.
 *
 * @param options - of what was made
 * @param source - of the client
 */
export function followLogin(options: object, source: object | undefined): void {
  const origin = source === undefined ? undefined : logins.get(source);
  if (origin === undefined) return;
  if (!logins.has(options)) openLogin(options);
  logins.get(options)?.follow(origin);
}

/** Whether a node of a cluster connects as all nodes do: startup nodes may have a login each. */
export function hasLoginOf(node: Credentials, cluster: object | undefined): boolean {
  const common = (cluster && logins.get(cluster)?.current) ?? {};
  return NAMES.every((name) => (node[name] ?? '') === (common[name] ?? ''));
}

/** Notes what ioredis is about to send, and takes away what it needs no more: anybody could read it there. */
export function noteLogin(client: Connecting, status: string): void {
  if (status === 'connecting') logins.get(client.options)?.begin();
  if (status !== 'connecting' && status !== 'connect' && client.condition) client.condition.auth = undefined;
}

interface Connecting {
  readonly options: object;
  readonly condition?: { auth?: unknown } | null;
}

/** Whether the arguments of a command say as whom somebody connects. */
export function isSecret(command: string): boolean {
  return command === 'auth' || command === 'hello';
}

/** Takes out of an error what ioredis puts there: with what somebody has tried to log in. */
export function hideLogin<E extends Error>(error: E): E {
  const { command } = error as { command?: { readonly name: string; args: unknown } };
  if (command !== undefined && isSecret(command.name)) command.args = [];
  return error;
}

/** Whether these are the arguments of AUTH for whoever the options name now. */
export function isLogin(options: object, args: readonly Argument[]): boolean {
  const current = logins.get(options)?.current;
  return current !== undefined && isGiven(current) && same(args, wordsOf(current));
}

/** Whether these are the arguments of AUTH that ioredis sends when it sets up a connection. */
export function isSentLogin(options: Credentials, args: readonly Argument[]): boolean {
  return same(args, wordsOf(sentBy(options)));
}

/** The same for HELLO, behind the number of the protocol. */
export function isSentHello(options: Credentials, args: readonly Argument[]): boolean {
  const login = sentBy(options);
  if (!isGiven(login)) return args.length === 0;
  const words = wordsOf(login);
  return same(args, ['AUTH', ...(words.length === 1 ? ['default', ...words] : words)]);
}

function sentBy(options: Credentials): Credentials {
  return logins.get(options)?.sent ?? options;
}

function isGiven({ username, password }: Credentials): boolean {
  return Boolean(username) || Boolean(password);
}

function wordsOf({ username, password }: Credentials): string[] {
  return (username ? [username, password ?? ''] : [password ?? '']).map(String);
}

function same(args: readonly Argument[], expected: readonly string[]): boolean {
  return (
    args.length === expected.length &&
    args.every((argument, place) => Buffer.from(expected[place] ?? '').equals(Buffer.from(argument)))
  );
}

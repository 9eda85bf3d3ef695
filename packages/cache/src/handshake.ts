import type { Argument } from './keyspec.ts';

/** What tells a connection that is being set up from one that tenants use. */
interface Connection {
  readonly status: string;
  readonly condition?: { readonly handshake?: boolean } | null;
  readonly options: {
    readonly db?: number | undefined;
    readonly username?: string | undefined;
    readonly password?: string | undefined;
    readonly connectionName?: string | undefined;
  };
}

type Shape = (connection: Connection, args: readonly string[]) => boolean;

/**
 * What ioredis sends for itself: when, and with which arguments. Where the code runs is not enough to go by, since
 * code of others runs there too: a connector, a transformer of replies. What has one of these shapes does nothing
 * that ioredis would not do at that moment.
 */
const SHAPES: Readonly<Record<string, Shape>> = Object.assign(Object.create(null) as Record<string, Shape>, {
  asking: isEmpty,
  auth: (connection, args) => isBeingSetUp(connection) && same(args, login(connection)),
  client: (connection, [subcommand, name, ...more]) =>
    isBeingSetUp(connection) &&
    (subcommand?.toLowerCase() === 'setname'
      ? name === `${connection.options.connectionName}` && more.length === 0
      : subcommand?.toLowerCase() === 'setinfo'),
  cluster: (_, [subcommand, ...more]) =>
    more.length === 0 && ['info', 'slots'].includes(subcommand?.toLowerCase() ?? ''),
  hello: (connection, [, ...args]) => isBeingSetUp(connection) && same(args, helloArguments(connection)),
  info: (connection, args) => isBeingSetUp(connection) && args.length === 0,
  readonly: isEmpty,
  readwrite: isEmpty,
  // The database that the client was made for, so that it changes none.
  select: ({ options }, args) => same(args, [`${options.db ?? 0}`]),
} satisfies Record<string, Shape>);

/** Whether a command is one that ioredis sends for itself on this connection. */
export function isHandshake(connection: object, name: string, args: readonly Argument[]): boolean {
  const shape = SHAPES[name];
  return shape !== undefined && shape(connection as Connection, args.map(String));
}

function isBeingSetUp({ status, condition }: Connection): boolean {
  return status === 'connect' && condition?.handshake === true;
}

function isEmpty(_: Connection, args: readonly string[]): boolean {
  return args.length === 0;
}

// Options of JavaScript may hold numbers, which ioredis writes as text.
function login({ options: { username, password } }: Connection): string[] {
  return (username ? [username, password ?? ''] : [password ?? '']).map(String);
}

function helloArguments(connection: Connection): string[] {
  const { username, password } = connection.options;
  if (!username && !password) return [];
  const words = login(connection);
  return ['AUTH', ...(words.length === 1 ? ['default', ...words] : words)];
}

function same(args: readonly string[], expected: readonly string[]): boolean {
  return args.length === expected.length && args.every((argument, place) => argument === expected[place]);
}

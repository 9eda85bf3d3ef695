import { currentScope } from '@tenantkit/core';
import type { Argument } from './keyspec.ts';
import { isLogin, isSentHello, isSentLogin } from './login.ts';
import { isPlumbing } from './plumbing.ts';

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
  auth: (connection, args) => isBeingSetUp(connection) && isSentLogin(connection.options, args),
  client: (connection, [subcommand, name, ...more]) =>
    isBeingSetUp(connection) &&
    (subcommand?.toLowerCase() === 'setname'
      ? name === `${connection.options.connectionName}` && more.length === 0
      : subcommand?.toLowerCase() === 'setinfo'),
  cluster: (_, [subcommand, ...more]) =>
    more.length === 0 && ['info', 'slots'].includes(subcommand?.toLowerCase() ?? ''),
  hello: (connection, [, ...args]) => isBeingSetUp(connection) && isSentHello(connection.options, args),
  info: (connection, args) => isBeingSetUp(connection) && args.length === 0,
  readonly: isEmpty,
  readwrite: isEmpty,
  // The database that the client was made for, so that it changes none.
  select: ({ options }, args) => args.length === 1 && args[0] === `${options.db ?? 0}`,
} satisfies Record<string, Shape>);

/** Whether a command is one that ioredis sends for itself on this connection. */
export function isHandshake(connection: object, name: string, args: readonly Argument[]): boolean {
  const shape = SHAPES[name];
  return shape !== undefined && shape(connection as Connection, args.map(String));
}

/**
 * Whether a command outside of any tenant is nobody's but the connection's: what ioredis sends for itself, and AUTH of
 * the service, which makes it once more that of whoever the options name. In a pipeline it would be a part of others'
 * work, which ends when it fails.
 */
export function isOwn(
  connection: object,
  name: string,
  args: readonly Argument[],
  isQueued: boolean,
): boolean {
  if (isPlumbing()) return currentScope() === undefined && isHandshake(connection, name, args);
  return name === 'auth' && !isQueued && isLogin((connection as Connection).options, args);
}

function isBeingSetUp({ status, condition }: Connection): boolean {
  return status === 'connect' && condition?.handshake === true;
}

function isEmpty(_: Connection, args: readonly string[]): boolean {
  return args.length === 0;
}

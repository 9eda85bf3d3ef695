import { breach, refuse, type RefuseRule } from '@tenantkit/core';
import type { Argument } from './keyspec.ts';
import type { TenantNames } from './names.ts';

/** What is subscribed to, by the command that does it. */
export type Kind = 'subscribe' | 'psubscribe' | 'ssubscribe';

/** The command that ends what another has begun. */
export const LEAVING = {
  subscribe: 'unsubscribe',
  psubscribe: 'punsubscribe',
  ssubscribe: 'sunsubscribe',
} as const satisfies Record<Kind, string>;

export const KINDS = Object.keys(LEAVING) as readonly Kind[];

/** What a command subscribes to or leaves. */
interface Verb {
  readonly kind: Kind;
  readonly leaves: boolean;
}

/** By the command. */
export const VERBS: ReadonlyMap<string, Verb> = new Map(
  KINDS.flatMap((kind): [string, Verb][] => [
    [kind, { kind, leaves: false }],
    [LEAVING[kind], { kind, leaves: true }],
  ]),
);

/** What a physical name stands for, and so how its messages become logical. */
export type Form = 'channel' | 'keyspace' | 'keyevent' | 'raw';

/** One name to subscribe to on the server. A pattern of a tenant may need two. */
export interface Target {
  readonly form: Form;
  readonly name: Buffer;
}

/** A message as a tenant knows it. */
export interface Message {
  readonly channel: Buffer;
  readonly message: Buffer;
}

const NOT_TEXT = refuse(
  'ioredis makes patterns text, so that two patterns that are no UTF-8 could not be told apart',
  'Give the pattern as a text.',
);
const ONE_NODE = refuse(
  'each node of a cluster notifies of its own keys only, so that most would be missed',
  "Subscribe on each of cluster.nodes('master').",
);

// How patterns name the notifications: of keys, of events, or of both. A tenant lives in one database, so any
// database is that of the client.
const HEADS = [
  { head: /^__keyspace@(\d+|\*)__:/, forms: ['keyspace'] },
  { head: /^__keyevent@(\d+|\*)__:/, forms: ['keyevent'] },
  { head: /^__key\*@(\d+|\*)__:/, forms: ['keyspace', 'keyevent'] },
  { head: /^__key(\*)__:/, forms: ['keyspace', 'keyevent'] },
] as const satisfies readonly { readonly head: RegExp; readonly forms: readonly Form[] }[];

// What can be meant for nothing but notifications.
const NOTIFICATIONS = /^__key(?:[*?[\\]|(?:space|event)[@*?[\\])/;

// The channels themselves.
const NOTIFYING = /^__key(?:space|event)@/;

/**
 * The physical names for a logical one.
 *
 * @param names - of the tenant; `undefined` for whoever works across tenants, with raw names
 * @param database - of the client; `undefined` for a cluster, which has no connection that hears all notifications
 * @returns the row that refuses it, where there is none
 */
export function targetsOf(
  kind: Kind,
  logical: Buffer,
  names: TenantNames | undefined,
  database: number | undefined,
): readonly Target[] | RefuseRule {
  const isPattern = kind === 'psubscribe';
  if (isPattern && !Buffer.from(logical.toString()).equals(logical)) return NOT_TEXT;
  const text = logical.toString('latin1');
  if (names === undefined)
    return database === undefined && isNotification(kind, text) ? ONE_NODE : [{ form: 'raw', name: logical }];
  // Sharded channels carry no notifications.
  if (kind !== 'ssubscribe' && NOTIFICATIONS.test(text))
    return notifications(text, isPattern, names, database);
  return [{ form: 'channel', name: isPattern ? names.glob(logical) : names.encode(logical) }];
}

/**
 * A message as the tenant knows it: views of what the connection has read.
 *
 * @returns `undefined` when it tells of another tenant's key
 * @throws {@link IsolationBreachError} when it came on a channel that the tenant cannot have subscribed to
 */
export function messageFor(
  form: Form,
  channel: Buffer,
  message: Buffer,
  names: TenantNames | undefined,
): Message | undefined {
  if (names === undefined) return { channel, message };
  if (form === 'keyevent') {
    if (!names.owns(message)) return undefined;
    return { channel, message: names.decode(message, 'message') };
  }
  if (form !== 'keyspace') return { channel: names.decode(channel, 'message'), message };
  const end = channel.indexOf(':') + 1;
  const key = names.decode(channel.subarray(end), 'message');
  return { channel: Buffer.concat([channel.subarray(0, end), key]), message };
}

/** The arguments of PUBLISH and SPUBLISH. */
export function scopePublish(args: readonly Argument[], names: TenantNames): Argument[] {
  return args.map((argument, place) => (place === 0 ? names.encode(argument) : argument));
}

/** The arguments of PUBSUB CHANNELS and SHARDCHANNELS: one pattern, or all channels. */
export function scopeListing(args: readonly Argument[], names: TenantNames): Argument[] {
  const [subcommand = '', pattern = '*', ...more] = args;
  return [subcommand, names.glob(pattern), ...more];
}

/** The arguments of PUBSUB NUMSUB and SHARDNUMSUB. */
export function scopeCounting(args: readonly Argument[], names: TenantNames): Argument[] {
  return args.map((argument, place) => (place === 0 ? argument : names.encode(argument)));
}

/** Makes the channels in `[channel, …]` logical. */
export function nameChannels(reply: unknown, names: TenantNames, operation: string): unknown {
  if (!Array.isArray(reply)) return queued(reply, names, operation);
  return reply.map((channel: unknown) => logical(channel, names, operation));
}

/** Makes the channels in `[channel, count, …]` logical. */
export function nameCounts(reply: unknown, names: TenantNames, operation: string): unknown {
  if (!Array.isArray(reply)) return queued(reply, names, operation);
  return reply.map((item: unknown, place) => (place % 2 === 0 ? logical(item, names, operation) : item));
}

// Sharded channels carry none, and a channel that only looks like a pattern is a channel as any other.
function isNotification(kind: Kind, text: string): boolean {
  return kind === 'psubscribe' ? NOTIFICATIONS.test(text) : kind === 'subscribe' && NOTIFYING.test(text);
}

function notifications(
  text: string,
  isPattern: boolean,
  names: TenantNames,
  database: number | undefined,
): readonly Target[] | RefuseRule {
  for (const { head, forms } of HEADS) {
    const [all, named] = head.exec(text) ?? [];
    if (all === undefined || named === undefined) continue;
    if (database === undefined) return ONE_NODE;
    if (named === '*' ? !isPattern : named !== `${database}`) break;
    if (forms.length > 1 && !isPattern) break;
    const rest = Buffer.from(text.slice(all.length), 'latin1');
    return forms.map((form) => {
      const scoped = form === 'keyevent' ? rest : isPattern ? names.glob(rest) : names.encode(rest);
      return { form, name: Buffer.concat([Buffer.from(`__${form}@${database}__:`), scoped]) };
    });
  }
  // A channel that only looks like a pattern is a channel as any other.
  if (!isPattern && !NOTIFYING.test(text))
    return [{ form: 'channel', name: names.encode(Buffer.from(text, 'latin1')) }];
  if (database === undefined) return ONE_NODE;
  return refuse(
    'notifications of this name come from other databases, or from keys of every tenant',
    `Name the database of the client, and what is meant as it stands: __keyspace@${database}__:<key or pattern>, __keyevent@${database}__:<event or pattern>.`,
  );
}

function logical(channel: unknown, names: TenantNames, operation: string): Argument {
  if (typeof channel !== 'string' && !Buffer.isBuffer(channel))
    throw breach('cache', operation, 'a channel of an unknown form came back', names.tenant);
  return names.decode(channel, operation);
}

// Inside a transaction: anything else may hold a name that nobody has looked at.
function queued(reply: unknown, names: TenantNames, operation: string): unknown {
  if ((Buffer.isBuffer(reply) || typeof reply === 'string') && reply.toString() === 'QUEUED') return reply;
  throw breach('cache', operation, 'a reply of an unknown form came back', names.tenant);
}

import { currentScope, refusal, refuse } from '@tenantkit/core';
import { isPlumbing } from './plumbing.ts';

/**
 * What a tenant may change in a duplicate: how the connection behaves. All else says where the client works, under
 * which names or with which scripts, and is the service's.
 */
const BEHAVIOUR: ReadonlySet<string> = new Set([
  'autoPipeliningIgnoredCommands',
  'autoResendUnfulfilledCommands',
  'autoResubscribe',
  'blockingTimeout',
  'blockingTimeoutGrace',
  'clusterRetryStrategy',
  'commandTimeout',
  'connectTimeout',
  'connectionName',
  'disconnectTimeout',
  'enableAutoPipelining',
  'enableOfflineQueue',
  'enableReadyCheck',
  'keepAlive',
  'lazyConnect',
  'maxLoadingRetryTime',
  'maxRedirections',
  'maxRetriesPerRequest',
  'noDelay',
  'protocol',
  'readOnly',
  'reconnectOnError',
  'redisOptions',
  'replyMapping',
  'retryDelayOnClusterDown',
  'retryDelayOnFailover',
  'retryDelayOnMoved',
  'retryDelayOnTryAgain',
  'retryStrategy',
  'scaleReads',
  'shardedSubscribers',
  'showFriendlyErrorStack',
  'slotsRefreshInterval',
  'slotsRefreshTimeout',
  'socketTimeout',
  'stringNumbers',
]);

const OTHER_PLACE = refuse(
  'its options move the client to another place or to other names, where the eraser does not look',
  'Make such a client outside of any tenant, when the service starts.',
);
const FUNCTION = refuse(
  'ioredis calls functions of the options, and of objects in them, in the midst of its own work, outside of any tenant',
  'Put it into the options of the client that is duplicated, when the service starts.',
);

/**
 * The options that a duplicate is made with in the place of the client's own: a copy, read once. Inside a tenant a
 * client is duplicated as it is, since with other names one tenant would write under another's.
 *
 * @param nodes - of a cluster, in the place of its own
 * @throws {@link OperationRefusedError}
 */
export function ownOverride<O extends object>(override: O | undefined, nodes: readonly unknown[] = []): O {
  const own = { ...override } as O;
  // Nor does ioredis duplicate anything by itself: in its work somebody's function would run that a tenant has left.
  if (currentScope()?.tenant === undefined && !isPlumbing()) return own;
  if (nodes.length > 0) throw refusal('cache', 'duplicate', OTHER_PLACE);
  for (const [name, value] of Object.entries(own)) {
    if (!BEHAVIOUR.has(name)) throw refusal('cache', 'duplicate', OTHER_PLACE);
    Reflect.set(own, name, plain(value));
  }
  return own;
}

// ioredis merges options, reads them again and again, and makes texts of them when it connects: a function, or an
// object with a toString or a getter of its own, would run there.
function plain(value: unknown): unknown {
  if (typeof value === 'function') throw refusal('cache', 'duplicate', FUNCTION);
  if (typeof value !== 'object' || value === null) return value;
  const type: unknown = Object.getPrototypeOf(value);
  if (type === Array.prototype && Array.isArray(value)) return Array.from(value, plain);
  if (type !== Object.prototype && type !== null) throw refusal('cache', 'duplicate', FUNCTION);
  return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, plain(part)]));
}

import { currentScope, refusal, refuse } from '@tenantkit/core';

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
  'ioredis calls a function of the options in the midst of its own work, outside of any tenant',
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
  if (currentScope()?.tenant === undefined) return own;
  if (nodes.length > 0) throw refusal('cache', 'duplicate', OTHER_PLACE);
  for (const [name, value] of Object.entries(own)) {
    if (!BEHAVIOUR.has(name)) throw refusal('cache', 'duplicate', OTHER_PLACE);
    if (typeof value === 'function') throw refusal('cache', 'duplicate', FUNCTION);
  }
  return own;
}

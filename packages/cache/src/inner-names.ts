/** What `Redis` has for its own work, and changes queues or status for whoever calls it. */
export const REDIS_INNER = [
  '_connect',
  'flushQueue',
  'recoverFromFatalError',
  'resetCommandQueue',
  'resetOfflineQueue',
  'setSocketTimeout',
  'setStatus',
] as const;

/** The same of `Cluster`. */
export const CLUSTER_INNER = [
  'clearNodesRefreshInterval',
  'executeOfflineCommands',
  'flushQueue',
  'handleCloseEvent',
  'invokeReadyDelayedCallbacks',
  'resetNodesRefreshInterval',
  'resetOfflineQueue',
  'setStatus',
] as const;

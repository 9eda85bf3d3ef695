import { exists, hasFlag } from '@ioredis/commands';
import type { Redis as RawRedis } from 'ioredis';
import type { Sent } from './sent.ts';
import { wiringOf } from './wirings.ts';

/** What ioredis keeps in a cluster about where commands go. */
interface Cluster {
  readonly status: string;
  /** The keys of the nodes that hold a slot, the master's first. */
  readonly slots: readonly (readonly string[] | undefined)[];
  readonly options: { readonly enableOfflineQueue?: boolean | undefined; readonly scaleReads?: unknown };
  readonly connectionPool: { getInstanceByKey(key: string): RawRedis | undefined };
  connect(): Promise<void>;
}

/**
 * What has one destination waits for what was sent there before. Where replicas answer reads, those are a destination
 * of their own: a replica that hangs must not hold up what is written to its master.
 */
export function laneIn(cluster: object, command: Sent): string | undefined {
  const { scaleReads = 'master' } = (cluster as Cluster).options;
  const destination = destinationIn(cluster, command);
  return scaleReads !== 'master' && isRead(command) ? `${destination ?? ''} reads` : destination;
}

/** The node that holds the slot of a command; `undefined` for one that any node can answer. */
function destinationIn(cluster: object, command: Sent): string | undefined {
  const slot = command.getSlot();
  return slot === null ? undefined : (cluster as Cluster).slots[slot]?.[0];
}

/** The client of the node that holds the slot of a command. */
export function masterOf(cluster: object, command: Sent): RawRedis | undefined {
  return (cluster as Cluster).connectionPool.getInstanceByKey(destinationIn(cluster, command) ?? '');
}

/**
 * What has to be waited for before a batch can be sent to a cluster: until the first answer nobody knows where.
 * Without an offline queue ioredis rejects what comes before the cluster has found itself ready, and all but the first
 * command of a turn while the node connects; its own autopipelining waits for the first answer.
 *
 * @param delay - calls back when the cluster knows its slots
 */
export function readinessOf(
  cluster: object,
  command: Sent,
  delay: (callback: (error?: Error | null) => void) => void,
): Promise<void> | undefined {
  const client = cluster as Cluster;
  const { slots, status, options, connectionPool } = client;
  if (slots.length === 0) {
    // Told by the callback below.
    if (status === 'wait') client.connect().catch(ignore);
    return new Promise((resolve, reject) => {
      delay((error) => (error ? reject(error) : resolve()));
    });
  }
  if (options.enableOfflineQueue !== false) return undefined;
  if (status === 'connect') return left(cluster);
  const node = connectionPool.getInstanceByKey(destinationIn(cluster, command) ?? '');
  // One that is not there is told by ioredis to the command itself, when it is sent.
  if (node?.status === 'wait') node.connect().catch(ignore);
  if (node?.status !== 'connecting' && node?.status !== 'connect') return undefined;
  return left(node);
}

/** Resolves when a client that connects is ready, or is not to be. */
function left(client: object): Promise<void> | undefined {
  const wiring = wiringOf(client);
  if (wiring === undefined) return undefined;
  return new Promise((resolve) => {
    const end = wiring.onStatus((status) => {
      if (!['ready', 'disconnecting', 'close', 'end'].includes(status)) return;
      end();
      resolve();
    });
  });
}

// As ioredis decides where to send it.
function isRead({ name, isReadOnly }: Sent): boolean {
  return isReadOnly === true || (exists(name) && hasFlag(name, 'readonly'));
}

function ignore(): void {
  // Whoever waits is told in another way.
}

import { refusal, refuse } from '@tenantkit/core';
import type { Lines } from './lines.ts';

const CLUSTER = refuse(
  'subscriptions of a cluster are not scoped to a tenant yet',
  "Subscribing is refused today on a Cluster; use a node of it: cluster.nodes('master')[0].subscribe(…).",
);

/** The lines of a cluster. */
export class ClusterLines implements Lines {
  join(): Promise<unknown> {
    return Promise.reject(refusal('cache', 'subscribe', CLUSTER));
  }
  leave(): Promise<unknown> {
    return Promise.resolve();
  }
  open(): void {}
  close(): void {}
}

import { currentTenant, withTenant } from '@tenantkit/core';
import type { Cluster, Redis } from '@tenantkit/cache';
import { randomBytes } from 'node:crypto';
import type { Redis as Raw } from 'ioredis';
import { until } from './support.ts';

/** What one tenant has heard: the event, the tenant it was heard in, and what came with it. */
export interface Ear {
  readonly heard: unknown[][];
  /** Resolves when this message has come by any event. */
  hears(message: string): Promise<void>;
}

const EVENTS = ['message', 'pmessage', 'smessage'] as const;

/** Channels are of the whole server, which other tests use as well. */
export function ownNames(): string {
  return `ps${randomBytes(6).toString('hex')}:{tenant}:`;
}

/** Listens to everything in the scope that runs now; texts and bytes have to say the same. */
export function listen(client: Redis | Cluster): Ear {
  const heard: unknown[][] = [];
  for (const event of EVENTS) {
    client.on(event, (...parts: string[]) => heard.push([event, currentTenant()?.tenant, ...parts]));
    client.on(`${event}Buffer`, (...parts: (string | Buffer)[]) => {
      const last = heard.at(-1)?.slice(2);
      if (parts.map(String).join('\0') !== last?.join('\0')) heard.push([`${event}Buffer`, ...parts]);
    });
  }
  return {
    heard,
    hears: (message) => until(() => heard.some((entry) => entry.at(-1) === message)),
  };
}

/** Publishes in a tenant. */
export function publishIn(
  client: Redis | Cluster,
  tenant: string,
  channel: string,
  message: string,
): Promise<number> {
  return withTenant(tenant, () => client.publish(channel, message));
}

/** Ends the connections on which a client hears messages, and waits until the server has others. */
export async function killSubscribers(admin: Raw, name: string): Promise<void> {
  const before = await subscribersOf(admin, name);
  for (const id of before) await admin.client('KILL', 'ID', id);
  let now: string[] = [];
  while (now.length < before.length || now.some((id) => before.includes(id)))
    now = await subscribersOf(admin, name);
}

async function subscribersOf(admin: Raw, name: string): Promise<string[]> {
  const list = String(await admin.client('LIST'));
  return list
    .split('\n')
    .filter((line) => line.includes(` name=${name}:subscriber `) && !line.includes(' cmd=client'))
    .map((line) => /^id=(\d+)/.exec(line)?.[1] ?? '');
}

/** What was heard, in an order that does not depend on the server's. */
export function sorted(entries: readonly unknown[]): string[] {
  return entries.map((entry) => JSON.stringify(entry)).sort((a, b) => (a < b ? -1 : 1));
}

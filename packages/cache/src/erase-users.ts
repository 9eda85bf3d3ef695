import { ConfigError } from '@tenantkit/core';
import { MARK, markOf } from './backstop.ts';
import type { Redis } from './client.ts';
import type { RawStore } from './raw-store.ts';

/** One server, and the store through which it is reached. */
interface Server {
  readonly raw: RawStore;
  readonly node: Redis;
}

/** A user with the rules of the tenant. */
interface User {
  readonly name: string;
  /** Whether it is somebody else's, too: not the tenant's to go with it. */
  readonly isShared: boolean;
}

// What Redis calls the user that every server has, and that nobody can remove.
const DEFAULT = 'default';

/**
 * The ACL users that `cacheBackstop` has made for one tenant, on every server of every place where the tenant may be.
 * Each server has users of its own, which no other is told of.
 *
 * A user is known by the mark in its rules and not by its name: with names, the tenant `default` would take the user
 * of all services along.
 */
export class TenantUsers {
  readonly #places: readonly RawStore[];
  readonly #tenant: string;

  constructor(places: readonly RawStore[], tenant: string) {
    this.#places = places;
    this.#tenant = tenant;
  }

  /** On all servers together. @throws {@link ConfigError} when a server does not show its users */
  async count(): Promise<number> {
    let count = 0;
    for (const server of await this.#servers()) count += (await this.#find(server)).length;
    return count;
  }

  /**
   * Removes them, and with each its connections: what it has sent until then is done, and nothing more.
   *
   * @param removed - called after each
   * @throws {@link ConfigError} when the client may not, or when a user is somebody else's as well; those that can be
   * removed are removed before
   */
  async erase(signal: AbortSignal, removed: (count: number) => Promise<void>): Promise<void> {
    let shared = 0;
    for (const server of await this.#servers()) {
      for (const { name, isShared } of await this.#find(server)) {
        signal.throwIfAborted();
        if (isShared) shared += 1;
        else await removed(Number(await this.#acl(server, 'DELUSER', name)));
      }
    }
    if (shared > 0) throw this.#refuseShared();
  }

  async #find(server: Server): Promise<User[]> {
    const { prefix } = server.raw.wiring.guard.names.of(this.#tenant);
    const mark = markOf(prefix);
    const lines = await this.#acl(server, 'LIST');
    const users = Array.isArray(lines) ? lines.map((line) => String(line).split(' ')) : [];
    // Something between us and the server may answer in its place: what does not show the user that every server has
    // shows nothing, and must not pass for "none".
    if (!users.some(([, name]) => name === DEFAULT)) throw unseen();
    return users.flatMap(([, name = '', ...given]) => {
      const rules = ofUser(given);
      return rules.includes(mark) ? [{ name, isShared: isShared(name, rules, mark) }] : [];
    });
  }

  async #acl({ raw, node }: Server, ...args: readonly [string, ...string[]]): Promise<unknown> {
    try {
      return await raw.askAt(node, 'acl', ...args);
    } catch (cause) {
      // ERR also where whoever runs the server for others has taken the command away.
      if (!(cause instanceof Error && /^(?:NOPERM|ERR) /.test(cause.message))) throw cause;
      throw new ConfigError({
        surface: 'cache',
        operation: 'cacheEraser',
        problem: `the server does not let the client call ACL ${args[0]}, so that nobody knows whether an ACL user of the tenant is left`,
        hint: 'Give the user of this client +acl|list and +acl|deluser. Where no tenant has an ACL user, use cacheEraser(client, { users: false }).',
        cause,
      });
    }
  }

  // Places may be databases of one server, which has each user once.
  async #servers(): Promise<Server[]> {
    const servers = new Map<string, Server>();
    for (const raw of this.#places)
      for (const node of await raw.servers()) servers.set(addressOf(node), { raw, node });
    return [...servers.values()];
  }

  #refuseShared(): ConfigError {
    return new ConfigError({
      surface: 'cache',
      operation: 'cacheEraser',
      problem:
        'an ACL user with the rules of the tenant is somebody else’s as well: it is the user default, has the rules of another tenant, or reaches all keys',
      hint: `Find it with ACL LIST by the rule ${MARK}…, and give it other rules with ACL SETUSER; then run the erasure again.`,
    });
  }
}

// Selectors are rights for others beside those of the user; none of our rules is one.
function ofUser(rules: readonly string[]): readonly string[] {
  const end = rules.findIndex((rule) => rule.startsWith('('));
  return end === -1 ? rules : rules.slice(0, end);
}

function isShared(name: string, rules: readonly string[], mark: string): boolean {
  const isOfAnother = rules.some((rule) => rule.startsWith(MARK) && rule !== mark);
  return name === DEFAULT || isOfAnother || rules.includes('~*');
}

function addressOf({ options: { path, host, port, sentinels, name } }: Redis): string {
  return JSON.stringify(path ? { path } : { host, port, sentinels, name });
}

function unseen(): ConfigError {
  return new ConfigError({
    surface: 'cache',
    operation: 'cacheEraser',
    problem: 'what answers ACL LIST does not show the user default, which every server has',
    hint: 'Connect the client to the server itself, or, where no tenant has an ACL user, use cacheEraser(client, { users: false }).',
  });
}

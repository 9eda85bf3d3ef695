import type { Connection, ConnectionPool } from '@opensearch-project/opensearch';
import { currentScope, refusal, refuse } from '@tenantkit/core';

/** Why a tenant may not touch what carries the requests of all. */
export const SHARED = refuse(
  'the pool of connections serves every tenant',
  'Do it outside of any tenant; an operator uses acrossTenants({ reason, actor }, () => …).',
);

/** Members that change where requests go. */
const CHANGES = ['addConnection', 'createConnection', 'removeConnection', 'update', 'empty'] as const;

/**
 * Makes a pool that no tenant changes: a connection that one of them added would get the requests of the others,
 * and answer them. Sniffing, which updates it, runs outside of any tenant.
 *
 * @param isOpen - whether the client is still being made, wherever that happens
 */
export function guardPool(Base: typeof ConnectionPool, isOpen: () => boolean): typeof ConnectionPool {
  class GuardedPool extends Base {
    constructor(...args: ConstructorParameters<typeof ConnectionPool>) {
      super(...args);
      let connections: readonly Connection[] = Object.freeze([...this.connections]);
      Object.defineProperty(this, 'connections', {
        enumerable: true,
        get: () => connections,
        set: (next: readonly Connection[]) => {
          if (!isOpen() && currentScope()?.tenant !== undefined)
            throw refusal('search', 'connectionPool.connections', SHARED);
          connections = Object.freeze([...next]);
        },
      });
    }
  }
  for (const member of CHANGES) {
    const raw: unknown = Reflect.get(Base.prototype, member);
    if (typeof raw !== 'function') continue;
    Object.defineProperty(GuardedPool.prototype, member, {
      value(this: object, ...args: unknown[]): unknown {
        if (!isOpen() && currentScope()?.tenant !== undefined)
          throw refusal('search', `connectionPool.${member}`, SHARED);
        return Reflect.apply(raw, this, args);
      },
      configurable: true,
      writable: true,
    });
  }
  return GuardedPool;
}

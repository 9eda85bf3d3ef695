import { openLogin } from './login.ts';
import type { CacheOptions } from './options.ts';
import { isPlumbing, outside } from './plumbing.ts';

// Not ours to copy: `Connector` is a class, which is a part of the connection, and `tenant` is read by us.
const LEFT: ReadonlySet<string> = new Set(['Connector', 'tenant']);

// A duplicate is made with options that were confined before.
const confined = new WeakSet<object>();

/**
 * Copies an argument of ioredis's constructors, so that nobody can change it afterwards, and takes every function
 * in it out of ioredis's own work: `reconnectOnError`, `retryStrategy`, `natMap`, `dnsLookup` and the like are
 * called in the midst of it, where a command without a tenant would pass for one of ioredis.
 */
export function confineOptions<T>(given: T): T;
export function confineOptions(given: unknown): unknown {
  if (typeof given !== 'object' || given === null || Array.isArray(given)) return confineValue(given);
  const copy: Record<string, unknown> = {};
  // ioredis takes inherited options, too.
  for (const name in given) {
    const value: unknown = Reflect.get(given, name);
    copy[name] = LEFT.has(name) ? value : confineValue(value);
  }
  return copy;
}

function confineValue(value: unknown): unknown {
  if (typeof value === 'function') return confineFunction(value as (...args: unknown[]) => unknown);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return Object.freeze(value.map(confineValue));
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === Object.prototype || prototype === null ? Object.freeze(confineOptions(value)) : value;
}

function confineFunction(fn: (...args: unknown[]) => unknown): unknown {
  if (confined.has(fn)) return fn;
  const own = outside(fn);
  confined.add(own);
  return own;
}

// What ioredis itself writes: a node of a cluster becomes a replica or a master, and its address is completed.
const WRITTEN = ['host', 'port', 'readOnly'] as const;

/**
 * Freezes the options of a client: ioredis reads most of them at every call, every error or every reconnect, so
 * that whoever changes one changes it for all tenants.
 *
 * `keyPrefix` would put a second prefix before ours. ioredis's own autopipelining queues a call in the context of
 * whoever made the pipeline, and shifts all later replies when a call throws (ioredis issue 1931): `Batch` does
 * that work instead, so every command is one that ioredis's must not take.
 */
export function lockOptions(
  options: {
    keyPrefix?: string | undefined;
    autoPipeliningIgnoredCommands?: string[] | undefined;
    tenant?: CacheOptions | undefined;
    redisOptions?: object | undefined;
  },
  // The registry is for whoever freezes tenants, and is not shown.
  own: CacheOptions,
): void {
  const tenant: { fence?: unknown } & CacheOptions = { ...own };
  delete tenant.fence;
  options.tenant = Object.freeze(tenant);
  options.keyPrefix = '';
  options.autoPipeliningIgnoredCommands = Object.freeze(
    Everything.from<string>(options.autoPipeliningIgnoredCommands ?? []),
  ) as string[];
  for (const name of WRITTEN) if (name in options) lockOption(options, name);
  if ('password' in options) openLogin(options);
  // Those of a cluster are in there.
  if (options.redisOptions !== undefined) {
    const redisOptions = { ...options.redisOptions };
    openLogin(redisOptions);
    options.redisOptions = Object.freeze(redisOptions);
  }
  Object.freeze(options);
}

function lockOption(options: object, name: string): void {
  let value: unknown = Reflect.get(options, name);
  Object.defineProperty(options, name, {
    enumerable: true,
    get: () => value,
    set(next: unknown) {
      if (!isPlumbing() && next !== value)
        throw new TypeError(
          'The options of a client are frozen; make another client with redis.duplicate({ … }).',
        );
      value = next;
    },
  });
}

// Holds the caller's list, and claims to hold every command.
class Everything<T> extends Array<T> {
  static {
    Object.freeze(this.prototype);
  }

  override includes(): boolean {
    return true;
  }
}

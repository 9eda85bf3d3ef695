import { Cluster as RawCluster, Command, Redis as RawRedis } from 'ioredis';
import { AsyncLocalStorage } from 'node:async_hooks';
import { channel } from 'node:diagnostics_channel';

const CHANNELS = ['command', 'connect', 'batch'].flatMap((what) =>
  ['start', 'end', 'asyncStart', 'asyncEnd', 'error'].map((step) => `tracing:ioredis:${what}:${step}`),
);

// Members that tracers put their own in the place of.
const PATCHED = ['sendCommand', 'connect'] as const;

// The first client may be made in a request: nothing of a look is part of that.
const atLoad = AsyncLocalStorage.snapshot();

/**
 * Looks at ioredis so that nobody hears of it: a tracer would show connections and calls that nobody has made, and
 * the functions that an application has set for the arguments and replies of a command would be called without one.
 * All is as it was when this returns, so `look` must not wait for anything.
 */
export function quietly<T>(look: () => T): T {
  const undo: (() => void)[] = [];
  const change = (host: object, name: string, value: unknown): void => {
    const before = Object.getOwnPropertyDescriptor(host, name);
    const enumerable = before?.enumerable ?? true;
    Object.defineProperty(host, name, { value, enumerable, writable: true, configurable: true });
    undo.push(() => {
      if (before === undefined) Reflect.deleteProperty(host, name);
      else Object.defineProperty(host, name, before);
    });
  };
  try {
    for (const name of CHANNELS) change(channel(name), 'hasSubscribers', false);
    for (const { prototype } of [RawRedis, RawCluster])
      for (const name of PATCHED) change(prototype, name, behind(Reflect.get(prototype, name)));
    const transformer: unknown = Reflect.get(Command, '_transformer');
    if (typeof transformer === 'object' && transformer !== null)
      for (const name of ['argument', 'reply']) change(transformer, name, {});
    return atLoad(look);
  } finally {
    for (const restore of undo.toReversed()) restore();
  }
}

// What a wrapper is around, where it says so as those of OpenTelemetry do. Any other is a part of this ioredis.
function behind(method: unknown): unknown {
  let inner = method;
  for (let wrapped = inner; typeof wrapped === 'function'; wrapped = Reflect.get(wrapped, '__original'))
    inner = wrapped;
  return inner;
}

import { Command } from 'ioredis';

/**
 * Looks at ioredis so that nobody hears of it: the functions that an application has set for the arguments and replies
 * of a command would be called without one, and would pass for a part of ioredis.
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
    const transformer: unknown = Reflect.get(Command, '_transformer');
    if (typeof transformer === 'object' && transformer !== null)
      for (const name of ['argument', 'reply']) change(transformer, name, {});
    return look();
  } finally {
    for (const restore of undo.toReversed()) restore();
  }
}

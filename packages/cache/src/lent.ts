import { refusal, refuse, type OperationRefusedError } from '@tenantkit/core';
import type { Redis as RawRedis } from 'ioredis';
import type { EventEmitter } from 'node:events';
import { asPlumbing } from './plumbing.ts';

const LENT = refuse(
  'the connection is lent as it is, and goes back as it is',
  'Call dedicated() again for another one.',
);

/** The error for what a connection that is lent does not do. */
export function lentOnly(operation: string): OperationRefusedError {
  return refusal('cache', operation, LENT);
}

/**
 * Shows on a client that is lent what is true of the connection below, and tells when that ends.
 *
 * @param isOver - whether the connection is somebody else's by now
 * @returns what ends it
 */
export function showLine(lent: EventEmitter, line: RawRedis, isOver: () => boolean): () => void {
  const show = (name: 'status' | 'stream' | 'condition', afterwards: unknown): void => {
    Object.defineProperty(lent, name, {
      get: () => (isOver() ? afterwards : Reflect.get(line, name)),
      enumerable: true,
    });
  };
  show('status', 'end');
  show('stream', undefined);
  show('condition', null);
  const events = ['close', 'end'] as const;
  const tell = events.map((event) => () => lent.emit(event));
  const each = (method: 'on' | 'off'): void =>
    events.forEach((event, index) => line[method](event, tell[index] as () => void));
  asPlumbing(() => each('on'));
  return () => each('off');
}

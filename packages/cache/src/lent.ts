import { refusal, refuse, type OperationRefusedError } from '@tenantkit/core';
import type { Redis as RawRedis } from 'ioredis';
import type { EventEmitter } from 'node:events';
import { isExecuting } from './pipeline-stream.ts';
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
  const show = (name: 'status' | 'stream' | 'condition', get: () => unknown): void => {
    Object.defineProperty(lent, name, { get, enumerable: true });
  };
  show('status', () => (isOver() ? 'end' : line.status));
  // ioredis writes pipelines to it. Whoever listens to it would hear the replies of whoever has the connection next.
  show('stream', () => (isExecuting() ? line.stream : undefined));
  show('condition', () => (isOver() ? null : Object.freeze({ ...line.condition, auth: undefined })));
  const events = ['close', 'end'] as const;
  const tell = events.map((event) => () => lent.emit(event));
  const each = (method: 'on' | 'off'): void =>
    events.forEach((event, index) => line[method](event, tell[index] as () => void));
  asPlumbing(() => each('on'));
  return () => each('off');
}

import type { ScanStream } from 'ioredis';
import type { Readable } from 'node:stream';
import type { Guard } from './guard.ts';
import { inScope } from './plumbing.ts';

type CreateScanStream = (command: string, options: object) => ScanStream;
type Method = (...args: unknown[]) => unknown;

// By what a stream is read, or ended. Refused before they change anything: node destroys a stream over an error
// in the middle of a read, and then it is the owner who has lost it.
const ENTRANCES = [
  'addListener',
  'close',
  'destroy',
  'iterator',
  'on',
  'once',
  'pipe',
  'prependListener',
  'prependOnceListener',
  'push',
  'read',
  'resume',
  'unshift',
  Symbol.asyncIterator,
] as const;

/**
 * Makes the scan streams of a client belong to the tenant they are made in: a stream asks for its next page
 * whenever somebody reads, in that reader's context, and pages that were read ahead wait in its buffer. In
 * another tenant its methods throw, and the stream stays as it is.
 *
 * @param there - the client of the tenant's own place, where that is another one
 */
export function guardScanStreams(
  client: object,
  guard: Guard,
  there: (command: string) => object | undefined = () => undefined,
): void {
  const host = client as { createScanStream: CreateScanStream };
  const createScanStream = host.createScanStream.bind(host);
  host.createScanStream = (command, options) => {
    const owner = guard.owner(command);
    const elsewhere = there(command) as typeof host | undefined;
    if (elsewhere !== undefined) return elsewhere.createScanStream(command, options);
    const stream = createScanStream(command, options);
    const readable: Readable = stream;
    const readMore = readable._read.bind(readable);
    readable._read = (size) => {
      const tenant = owner.tenant?.tenant;
      // What the cursor means is known to one server alone.
      const moved = tenant === undefined ? undefined : guard.placing?.refuse(tenant, command, true);
      if (moved === undefined) inScope(owner, () => readMore(size));
      else stream.destroy(moved);
    };
    for (const name of ENTRANCES) {
      const method = Reflect.get(stream, name) as Method;
      Object.defineProperty(stream, name, {
        value(this: unknown, ...args: unknown[]): unknown {
          const error = guard.elsewhereInTenant(owner, command);
          if (error !== undefined) throw error;
          return method.apply(this, args);
        },
      });
    }
    return stream;
  };
}

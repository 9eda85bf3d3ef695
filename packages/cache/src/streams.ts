import type { ScanStream } from 'ioredis';
import type { Readable } from 'node:stream';
import type { Guard } from './guard.ts';
import { inScope } from './plumbing.ts';

type CreateScanStream = (command: string, options: object) => ScanStream;

/**
 * Makes the scan streams of a client belong to the tenant they are made in: a stream asks for its next page
 * whenever somebody reads, in that reader's context, and pages that were read ahead wait in its buffer.
 */
export function guardScanStreams(client: object, guard: Guard): void {
  const host = client as { createScanStream: CreateScanStream };
  const createScanStream = host.createScanStream.bind(host);
  host.createScanStream = (command, options) => {
    const owner = guard.owner(command);
    const stream = createScanStream(command, options);
    const readable: Readable = stream;
    const read = readable.read.bind(readable);
    const readMore = readable._read.bind(readable);
    stream.read = (size?: number) => {
      const error = guard.elsewhereInTenant(owner, command);
      if (error === undefined) return read(size) as unknown;
      stream.destroy(error);
      return null;
    };
    readable._read = (size) => inScope(owner, () => readMore(size));
    return stream;
  };
}

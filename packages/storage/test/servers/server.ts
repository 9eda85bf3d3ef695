import { inject } from 'vitest';
import type { ServerName } from './table.ts';

declare module 'vitest' {
  interface ProvidedContext {
    /** The S3 server of the project; Ceph where none is named. */
    s3Server: ServerName | undefined;
  }
}

/** The S3 server that the tests run on. */
export const server: ServerName = inject('s3Server') ?? 'ceph';

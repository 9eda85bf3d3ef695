// The package has types, and its `exports` do not name them.
declare module 'redlock' {
  import type { EventEmitter } from 'node:events';

  export class ExecutionError extends Error {
    readonly attempts: readonly Promise<unknown>[];
  }

  export interface Lock {
    readonly resources: string[];
    release(): Promise<unknown>;
    extend(duration: number): Promise<Lock>;
  }

  interface Settings {
    readonly retryCount?: number;
    readonly automaticExtensionThreshold?: number;
  }

  export default class Redlock extends EventEmitter {
    constructor(clients: Iterable<object>, settings?: Settings);
    acquire(resources: string[], duration: number): Promise<Lock>;
    release(lock: Lock): Promise<unknown>;
    using<T>(resources: string[], duration: number, routine: (signal: AbortSignal) => Promise<T>): Promise<T>;
  }
}

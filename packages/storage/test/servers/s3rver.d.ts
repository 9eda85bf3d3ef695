declare module 's3rver' {
  /** An S3 server that keeps its objects as files. */
  export default class S3rver {
    constructor(options: {
      readonly address?: string;
      readonly port?: number;
      readonly directory?: string;
      readonly silent?: boolean;
      readonly vhostBuckets?: boolean;
    });
    run(): Promise<{ readonly port: number }>;
  }
}

type Declarations = Readonly<Record<string, string>>;

const REDIS = { redis: `declare const redis: import('@tenantkit/cache').Redis;` };
const S3 = { s3: `declare const s3: import('@tenantkit/storage').S3Client;` };
const ADMIN = {
  admin: `declare const admin: import('ioredis').Redis;`,
  password: `declare const password: string;`,
};
const QUEUES = {
  mails: `declare const mails: import('@tenantkit/queue').Queue;`,
  reports: `declare const reports: import('@tenantkit/queue').Queue;`,
};
const QUEUE = {
  ...QUEUES,
  signingKeys: `declare const signingKeys: readonly import('@tenantkit/queue').SigningKey[];`,
};
const JWKS = {
  certificate: `declare const certificate: string;`,
  jwks: `declare const jwks: Parameters<typeof import('@tenantkit/erasure').verifyCertificate>[1]['keys'];`,
};

/** What the examples of a package take for granted, by its name: what their reader has anyway. */
export const NAMES: Readonly<Record<string, Declarations>> = {
  root: {
    app: `interface Reply { send(body: unknown): void }
interface Request { readonly tenant: string; readonly params: { readonly id: string } }
declare const app: {
  get(path: string, handler: (request: Request, reply: Reply) => Promise<void>): void;
  addHook(hook: 'onRequest', handler: (request: Request, reply: Reply, done: () => void) => void): void;
};`,
  },
  cache: {
    app: `interface Req { readonly tenant: string }
interface Res {
  readonly closed: boolean;
  send(body: unknown): void;
  status(code: number): { end(): void };
  writeHead(code: number, headers: object): void;
  write(text: string): void;
  on(event: 'close', listener: () => void): void;
}
declare const app: {
  get(path: string, handler: (request: Req, response: Res) => Promise<void>): void;
  use(handler: (request: Req, response: Res, next: () => void) => void): void;
};`,
    ...REDIS,
    ...ADMIN,
    CacheNames: `declare class CacheNames { of(tenant: string): { encode(key: string): string } }`,
  },
  cli: {},
  core: {
    ...REDIS,
    connection: `declare const connection: object;`,
    fence: `declare const fence: import('@tenantkit/core').TenantRegistry;`,
    emitter: `declare const emitter: import('node:events').EventEmitter;`,
    pager: `declare const pager: { alert(event: unknown): void };`,
    pino: `declare function pino(): { info(event: unknown): void; warn(event: unknown): void; error(event: unknown): void };`,
    report: `declare function report(): Promise<void>;`,
    request: `declare const request: { readonly headers: Record<string, string> };`,
    save: `declare function save(): Promise<void>;`,
    sendInvoice: `declare function sendInvoice(tenant: string): Promise<void>;`,
  },
  crypto: {
    db: `declare const db: { insert(table: object): { values(row: object): Promise<void> } };`,
    decrypt: `declare function decrypt(text: string): string;`,
    encrypt: `declare function encrypt(text: string): string;`,
    id: `declare const id: string;`,
    keyring: `declare const keyring: import('@tenantkit/crypto').Keyring;`,
    ledger: `declare const ledger: import('@tenantkit/erasure').Ledger;`,
    row: `declare const row: { readonly id: string; readonly ssn: string };`,
    signer: `declare const signer: import('@tenantkit/erasure').Signer;`,
    ssn: `declare const ssn: string;`,
    users: `declare const users: object;`,
  },
  erasure: {
    ...REDIS,
    ...S3,
    ...JWKS,
    ...QUEUES,
    erasure: `declare const erasure: ReturnType<typeof import('@tenantkit/erasure').createErasure>;`,
    fence: `declare const fence: import('@tenantkit/core').TenantRegistry;`,
    id: `declare const id: string;`,
    privateKey: `declare const privateKey: import('@tenantkit/erasure').SignerOptions['privateKey'];`,
    signal: `declare const signal: AbortSignal;`,
    text: `declare const text: string;`,
  },
  queue: {
    ...ADMIN,
    ...QUEUE,
    accountOf: `declare function accountOf(data: unknown): { readonly id: string } | undefined;`,
    connection: `declare const connection: { host: string; port: number };`,
    queue: `declare const queue: import('@tenantkit/queue').Queue;`,
    redis: `declare const redis: import('ioredis').Redis;`,
    send: `declare function send(tenant: string | undefined, data: unknown): Promise<void>;`,
  },
  search: {
    client: `declare const client: import('@tenantkit/search').Client;`,
    node: `declare const node: string;`,
    region: `declare const region: string;`,
    settings: `declare const settings: object;`,
    tenantNames: `declare function tenantNames(settings: object, tenant: string, operation: string): { encode(id: string): string; decode(id: string): string };`,
  },
  storage: {
    ...S3,
    AssumeRoleCommand: `declare class AssumeRoleCommand { constructor(input: { RoleArn: string; RoleSessionName: string; Policy: string }) }`,
    RoleArn: `declare const RoleArn: string;`,
    fence: `declare const fence: import('@tenantkit/core').TenantRegistry;`,
    placements: `declare const placements: ReadonlyMap<string, import('@tenantkit/storage').StoragePlacement>;`,
    database: `declare const database: { hasTenant(id: string): boolean };`,
    roleOfAcme: `declare const roleOfAcme: string;`,
    stream: `declare const stream: import('node:stream').Readable;`,
    sts: `declare const sts: { send(command: object): Promise<{ Credentials: object }> };`,
  },
  testing: {
    cacheEraser: `import { cacheEraser } from '@tenantkit/cache';`,
    everythingIn: `declare function everythingIn(raw: import('ioredis').Redis): Promise<Record<string, string>>;`,
    openCache: `interface OpenedCache extends AsyncDisposable {
  readonly redis: import('@tenantkit/cache').Redis;
  readonly raw: import('ioredis').Redis;
}
declare function openCache(): Promise<OpenedCache>;`,
    Pool: `declare class Pool { constructor(options: { connectionString: string }) }`,
    Redis: `import { Redis } from 'ioredis';`,
    S3Client: `import { S3Client } from '@aws-sdk/client-s3';`,
    client: `declare const client: import('@opensearch-project/opensearch').Client;`,
    ca: `declare const ca: string;`,
    cert: `declare const cert: string;`,
    key: `declare const key: string;`,
    slot: `declare const slot: number;`,
    servers: `declare const servers: import('@tenantkit/testing/servers').Servers<{ redis: true; s3: true; opensearch: true; postgres: true }>;`,
  },
};

import { once } from 'node:events';
import { connect, createServer, type AddressInfo, type Socket } from 'node:net';
import { GetObjectCommand, PutObjectCommand, type S3ClientConfig } from '@aws-sdk/client-s3';
import { createTenantRegistry, memoryTenantStore, type TenantRegistry } from '@tenantkit/core';
import { S3Client, type StoragePlacement, type StorageTenantOptions } from '@tenantkit/storage';
import { TENANTS, freshBucket, type FreshBucket } from '@tenantkit/testing';
import { afterAll, afterEach, beforeAll, beforeEach, inject, vi } from 'vitest';
import { KEPT } from '../src/whereabouts.ts';
import { open, type Opened } from './open.ts';
import { openRole, type OpenedRole, type Session } from './role.ts';

/** Another address of the real server: an endpoint of its own for whoever signs and sends. */
export interface Gateway extends AsyncDisposable {
  readonly endpoint: string;
  readonly host: string;
  /** How many connections have come. */
  readonly connections: () => number;
}

/** One request as it left: to which server, and in whose name. */
export interface Sent {
  readonly host: string;
  readonly path: string;
  readonly accessKeyId: string | undefined;
}

/** A pool, a bucket of its own for each tenant, and two further endpoints with credentials of their own. */
export interface Places extends AsyncDisposable {
  /** The pool, and its bucket, by whose name callers know all others. */
  readonly own: Opened;
  readonly bucket: string;
  readonly bridge: string;
  readonly gateways: readonly [Gateway, Gateway];
  readonly buckets: readonly [string, string];
  readonly sessions: readonly [Session, Session];
  /** acme in the pool, acme2 and a-b in one bridge, a and ac in a silo each. */
  place(tenant: string): StoragePlacement;
  /** Of the physical bucket of a tenant. */
  bucketOf(tenant: string): string;
  hostOf(tenant: string): string;
  /** A client, and what it sends from now on. */
  client(
    tenant?: Partial<StorageTenantOptions>,
    configuration?: Partial<S3ClientConfig>,
  ): { readonly s3: S3Client; readonly sent: Sent[] };
  /** The text of an object, with the credentials of everybody. */
  read(bucket: string, key: string): Promise<string | undefined>;
  write(bucket: string, key: string, text: string): Promise<void>;
}

export async function openPlaces(): Promise<Places> {
  const own = await open();
  const role: OpenedRole = await openRole(own);
  const fresh: FreshBucket[] = [];
  for (let count = 0; count < 3; count += 1) fresh.push(await freshBucket(inject('servers').s3));
  const [bridge = '', first = '', second = ''] = fresh.map(({ bucket }) => bucket);
  const gateways = [
    await openGateway(own.options.endpoint),
    await openGateway(own.options.endpoint),
  ] as const;
  const sessions = [await role.session(), await role.session()] as const;
  const clients: S3Client[] = [];
  const { bucket } = own;
  const silo = (index: 0 | 1): StoragePlacement => ({
    level: 'silo',
    endpoint: gateways[index].endpoint,
    credentials: sessions[index],
    buckets: { [bucket]: index === 0 ? first : second },
  });
  const at: Readonly<Record<string, () => StoragePlacement>> = {
    acme: () => ({ level: 'pool' }),
    acme2: () => ({ level: 'bridge', buckets: { [bucket]: bridge } }),
    'a-b': () => ({ level: 'bridge', buckets: { [bucket]: bridge } }),
    a: () => silo(0),
    ac: () => silo(1),
  };
  const place = (tenant: string): StoragePlacement => at[tenant]?.() ?? { level: 'pool' };
  return {
    own,
    bucket,
    bridge,
    gateways,
    buckets: [first, second],
    sessions,
    place,
    bucketOf(tenant) {
      const placement = place(tenant);
      return placement.level === 'pool' ? bucket : (placement.buckets?.[bucket] ?? bucket);
    },
    hostOf(tenant) {
      const placement = place(tenant);
      return new URL(placement.level === 'silo' ? placement.endpoint : own.options.endpoint).host;
    },
    client(tenant = {}, configuration = {}) {
      const s3 = new S3Client({
        ...own.options,
        ...configuration,
        tenant: { buckets: [bucket], place, ...tenant },
      });
      clients.push(s3);
      return { s3, sent: record(s3) };
    },
    async read(from, Key) {
      const { Body } = await own.raw.send(new GetObjectCommand({ Bucket: from, Key }));
      return Body?.transformToString();
    },
    async write(to, Key, Body) {
      await own.raw.send(new PutObjectCommand({ Bucket: to, Key, Body }));
    },
    async [Symbol.asyncDispose]() {
      for (const client of clients) client.destroy();
      for (const gateway of gateways) await gateway[Symbol.asyncDispose]();
      for (const one of fresh) await one.cleanup();
      await role[Symbol.asyncDispose]();
      await own[Symbol.asyncDispose]();
    },
  };
}

/** Places for the tests of a file, and for each of them a fence. */
export interface FencedPlaces {
  readonly places: Places;
  readonly fence: TenantRegistry;
  /** The clock goes on, so far that places are asked for anew; nothing waits. */
  readonly later: () => void;
}

/** Opens them before the tests; what it answers can be read inside of tests. */
export function fencedPlaces(): FencedPlaces {
  const own: { -readonly [Name in keyof FencedPlaces]?: FencedPlaces[Name] } = {};
  let clock = 0;
  beforeAll(async () => {
    own.places = await openPlaces();
  });
  afterAll(() => own.places?.[Symbol.asyncDispose]());
  beforeEach(async () => {
    own.fence = await createTenantRegistry({ store: memoryTenantStore() });
    // It stands still, however slow the machine is.
    vi.spyOn(performance, 'now').mockImplementation(() => clock);
  });
  afterEach(() => {
    own.fence?.close();
    vi.restoreAllMocks();
  });
  return Object.assign(own, {
    later: () => {
      clock += KEPT;
    },
  }) as FencedPlaces;
}

export const others = (tenant: string): string[] => TENANTS.filter((one) => one !== tenant);

/** Notes what a client's request handler is given; the requests go on to the server. */
function record(client: S3Client): Sent[] {
  const sent: Sent[] = [];
  const { requestHandler } = client.config;
  const handle = requestHandler.handle.bind(requestHandler);
  requestHandler.handle = (...args: Parameters<typeof handle>) => {
    const [{ hostname, port, path, headers }] = args;
    const authorization = headers['authorization'] ?? '';
    const accessKeyId = /Credential=([^/]+)\//.exec(authorization)?.[1];
    sent.push({ host: `${hostname}${port === undefined ? '' : `:${port}`}`, path, accessKeyId });
    return handle(...args);
  };
  return sent;
}

async function openGateway(endpoint: string): Promise<Gateway> {
  const { hostname, port } = new URL(endpoint);
  const sockets = new Set<Socket>();
  let count = 0;
  const server = createServer((client) => {
    count += 1;
    const upstream = connect({ host: hostname, port: Number(port) });
    for (const socket of [client, upstream]) {
      sockets.add(socket);
      socket.on('error', () => socket.destroy());
      socket.on('close', () => {
        sockets.delete(socket);
        client.destroy();
        upstream.destroy();
      });
    }
    client.pipe(upstream).pipe(client);
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port: own } = server.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${own}`,
    host: `127.0.0.1:${own}`,
    connections: () => count,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

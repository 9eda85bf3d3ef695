import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { Agent, ClientRequest, OutgoingMessage, createServer as createHttpServer } from 'node:http';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { Duplex } from 'node:stream';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import { PutObjectCommand, S3Client, type S3ClientConfig } from '@tenantkit/storage';
import { afterEach, describe, expect, it } from 'vitest';
import { open } from './open.ts';

setFlagsFromString('--allow-natives-syntax');
const isFast = runInNewContext('(object) => %HasFastProperties(object)') as (object: object) => boolean;

it('the configuration, of which the SDK makes several copies for each call, stays in the fast form', async () => {
  await using own = await open();
  const put = new PutObjectCommand({ Key: 'a', Body: 'x' });
  await withTenant('acme', () => own.s3.send(put));
  expect(isFast(own.s3.config)).toBe(true);
  // As long as this is so, there is a reason for it.
  expect(isFast(own.raw.config)).toBe(false);
});

it('credentials are asked for once for each request that is signed, and the user agent says where they came from', async () => {
  const agents: unknown[] = [];
  const server = createHttpServer((request, response) => {
    agents.push(request.headers['user-agent']);
    request.resume().once('end', () => response.writeHead(200, { etag: '"x"' }).end());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  let asked = 0;
  const identity = { accessKeyId: 'key', secretAccessKey: 'secret', $source: { CREDENTIALS_PROFILE: 'n' } };
  const provider = (): Promise<typeof identity> => {
    asked += 1;
    return Promise.resolve(identity);
  };
  const { port } = server.address() as AddressInfo;
  const configuration = {
    region: 'us-east-1',
    endpoint: `http://127.0.0.1:${port}`,
    forcePathStyle: true,
    // With them the SDK keeps no answer.
    credentials: Object.assign(provider, { memoized: true, configBound: true, attributed: true }),
  };
  const raw = new RawS3Client(configuration);
  const s3 = new S3Client({ ...configuration, tenant: { buckets: ['uploads'] } });
  const input = { Bucket: 'uploads', Key: 'a', Body: 'x' };
  await raw.send(new PutObjectCommand(input));
  for (const expected of [2, 1, 1]) {
    asked = 0;
    await withTenant('acme', () => s3.send(new PutObjectCommand(input)));
    expect(asked).toBe(expected);
  }
  expect(agents[0]).toMatch(/ m\/\S*\bn\b/);
  expect(agents).toEqual(Array.from({ length: 4 }, () => agents[0]));
  for (const client of [raw, s3]) client.destroy();
  server.close();
});

const KIB = 1024;
const MIB = KIB * KIB;
const ANSWER = 'HTTP/1.1 200 OK\r\netag: "x"\r\ncontent-length: 0\r\n\r\n';

describe('the copy of a body in memory', () => {
  const closing: (() => unknown)[] = [];
  afterEach(() => {
    // Its own is that of every outgoing message.
    Reflect.deleteProperty(ClientRequest.prototype, 'end');
    for (const close of closing.splice(0)) close();
  });

  /** What is handed to connections from now on, as it stands. */
  const handedOver = (): unknown[] => {
    const bodies: unknown[] = [];
    const end = Reflect.get(OutgoingMessage.prototype, 'end') as (...args: unknown[]) => ClientRequest;
    const value = function (this: ClientRequest, ...args: unknown[]): ClientRequest {
      bodies.push(args[0]);
      return Reflect.apply(end, this, args);
    };
    Object.defineProperty(ClientRequest.prototype, 'end', { value, configurable: true });
    return bodies;
  };

  const clientOf = async (server: Server, more: Partial<S3ClientConfig> = {}): Promise<S3Client> => {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    const s3 = new S3Client({
      region: 'us-east-1',
      endpoint: `http://127.0.0.1:${port}`,
      forcePathStyle: true,
      credentials: { accessKeyId: 'key', secretAccessKey: 'secret' },
      ...more,
      tenant: { buckets: ['uploads'] },
    });
    closing.push(
      () => s3.destroy(),
      () => server.close(),
    );
    return s3;
  };
  const put = (s3: S3Client, Body: Uint8Array): Promise<unknown> =>
    withTenant('acme', () => s3.send(new PutObjectCommand({ Key: 'a', Body })));

  /** A server that has read everything when it answers. */
  const reader = (): Server =>
    createHttpServer((request, response) => {
      request.resume().once('end', () => response.writeHead(200, { etag: '"x"' }).end());
    });

  it('is given back when it was sent, and what it was made of stays as it is', async () => {
    const s3 = await clientOf(reader());
    const bodies = handedOver();
    const [large, small] = [Buffer.alloc(MIB, 'x'), Buffer.alloc(KIB, 'y')];
    await put(s3, large);
    await put(s3, small);
    expect(bodies.map((body) => (body as Buffer).length)).toEqual([0, KIB]);
    expect(large.equals(Buffer.alloc(MIB, 'x'))).toBe(true);
  });

  it('stays while it is sent, also when the answer is there before', async () => {
    const size = 64 * MIB;
    const hash = createHash('sha256');
    const resumed = Promise.withResolvers<undefined>();
    const read = Promise.withResolvers<string>();
    const server = createServer((socket) => {
      let count = 0;
      const take = (chunk: Buffer): void => {
        hash.update(chunk);
        count += chunk.length;
        if (count === size) read.resolve(hash.digest('hex'));
      };
      socket.once('data', () => {
        socket.write('HTTP/1.1 100 Continue\r\n\r\n');
        socket.once('data', (first) => {
          socket.pause().write(ANSWER);
          take(first);
          void resumed.promise.then(() => socket.on('data', take).resume());
        });
      });
      socket.once('close', () => read.resolve(`closed after ${count} bytes`));
    });
    const s3 = await clientOf(server);
    const bodies = handedOver();
    const body = Buffer.alloc(size, 'x');
    await put(s3, body);
    expect(bodies.map((one) => (one as Buffer).length)).toEqual([size]);
    resumed.resolve(undefined);
    expect(await read.promise).toBe(createHash('sha256').update(body).digest('hex'));
  });

  it('stays where a connection of another kind may still have it', async () => {
    const kept: Buffer[] = [];
    class Slow extends Duplex {
      override _read(): void {
        // What it answers is pushed.
      }
      override _write(chunk: Buffer, _encoding: string, done: () => void): void {
        kept.push(chunk);
        done();
        if (Buffer.concat(kept).length > MIB) this.push(ANSWER);
      }
      setNoDelay = (): this => this;
      setKeepAlive = (): this => this;
      setTimeout = (): this => this;
      ref = (): this => this;
      unref = (): this => this;
    }
    class SlowAgent extends Agent {
      override createConnection(): Duplex {
        return new Slow();
      }
    }
    const s3 = await clientOf(reader(), { requestHandler: { httpAgent: new SlowAgent() } });
    await put(s3, Buffer.alloc(MIB, 'x'));
    expect(Buffer.concat(kept).subarray(-MIB).equals(Buffer.alloc(MIB, 'x'))).toBe(true);
  });

  it('stays where somebody stands in front of the handler', async () => {
    const s3 = await clientOf(reader());
    const { requestHandler } = s3.config;
    const handle = requestHandler.handle.bind(requestHandler);
    const seen: unknown[] = [];
    requestHandler.handle = (...args: Parameters<typeof handle>) => {
      seen.push(args[0].body);
      return handle(...args);
    };
    await put(s3, Buffer.alloc(MIB, 'x'));
    expect(seen.map((body) => (body as Buffer).length)).toEqual([MIB]);
  });
});

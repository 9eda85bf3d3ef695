import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Redis as Raw } from 'ioredis';

/** A node of a Redis Cluster, on this machine. */
export interface ClusterNode extends AsyncDisposable {
  readonly port: number;
  /** The port of the protocol between nodes. */
  readonly busPort: number;
  readonly raw: Raw;
}

/**
 * Starts `redis-server` (or what REDIS_SERVER names) as a cluster of one node that holds all slots, or as a node
 * without any that can join others.
 *
 * @throws Error when there is no such program
 */
export async function startClusterNode({ alone = true } = {}): Promise<ClusterNode> {
  const program = process.env['REDIS_SERVER'] ?? 'redis-server';
  const folder = await mkdtemp(join(tmpdir(), 'tk-cluster-'));
  const port = await freePort();
  const busPort = await freePort();
  const server = spawn(
    program,
    // The cluster needs an address of its own to tell its clients: without peers it knows none.
    [
      '--port',
      `${port}`,
      '--bind',
      '127.0.0.1',
      '--dir',
      folder,
      '--save',
      '',
      '--cluster-enabled',
      'yes',
    ].concat([
      '--cluster-announce-ip',
      '127.0.0.1',
      '--cluster-port',
      `${busPort}`,
      '--repl-diskless-sync-delay',
      '0',
    ]),
    { stdio: ['ignore', 'pipe', 'inherit'] },
  );
  const gone = once(server, 'exit');
  // A test run that is cut short must not leave a server behind.
  const stop = (): boolean => server.kill('SIGKILL');
  process.once('exit', stop);
  try {
    await Promise.race([
      once(server, 'spawn'),
      once(server, 'error').then(([error]: unknown[]) => {
        throw new Error(`${program} cannot be started: install Redis 7, or set REDIS_SERVER`, {
          cause: error,
        });
      }),
    ]);
    for await (const line of server.stdout) if (String(line).includes('Ready to accept connections')) break;
    const raw = new Raw(port);
    if (alone) {
      await raw.call('CLUSTER', 'ADDSLOTSRANGE', 0, 16383);
      while (!String(await raw.call('CLUSTER', 'INFO')).includes('cluster_state:ok')) await raw.ping();
    }
    return {
      port,
      busPort,
      raw,
      async [Symbol.asyncDispose]() {
        raw.disconnect();
        stop();
        process.off('exit', stop);
        await gone;
        await rm(folder, { recursive: true, force: true });
      },
    };
  } catch (error) {
    stop();
    await rm(folder, { recursive: true, force: true });
    throw error;
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  // The port of the cluster's own protocol may be any; by default it would be this one and 10 000.
  if (address === null || typeof address === 'string') throw new TypeError('no port');
  return address.port;
}

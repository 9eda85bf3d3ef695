import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { ConfigError } from '@tenantkit/core';
import { bringUpCeph, CEPH_PACKAGES, startGateway, type CephHost } from './ceph.ts';
import { buildCephImage, CEPH_IMAGE, cephInContainer } from './ceph-image.ts';
import type { NativeContext, S3Connection, ServerDefinition } from './definition.ts';
import { fetchSoon } from './probe.ts';
import { listsBuckets, soundGateway } from './s3-check.ts';
import type { Running } from './supervisor.ts';
import { PortTakenError, gaveUp, retryOnTakenPort, untilUp } from './wait.ts';

const REGION = 'us-east-1';

/** The gateway's port inside a container. */
const CONTAINER_PORT = 7480;

/** What the container says when the daemons can be started in it. */
const WAITING = 'tenantkit: ready for Ceph';

const UP_WITHIN_MS = 60_000;

/** Ceph RGW 16, as Debian 12 packages it: S3 with signatures, STS, policies, versions and object lock enforced. */
export const s3: ServerDefinition<S3Connection> = {
  name: 's3',
  title: 'S3 (Ceph RGW)',
  env: {
    variables: 'S3_ENDPOINT, S3_ACCESS_KEY_ID and S3_SECRET_ACCESS_KEY',
    read(env) {
      const endpoint = env['S3_ENDPOINT'] ?? '';
      const accessKeyId = env['S3_ACCESS_KEY_ID'] ?? '';
      const secretAccessKey = env['S3_SECRET_ACCESS_KEY'] ?? '';
      if (endpoint === '') return undefined;
      const problem =
        !URL.canParse(endpoint) || !['http:', 'https:'].includes(new URL(endpoint).protocol)
          ? 'S3_ENDPOINT is not an http:// or https:// URL'
          : accessKeyId === '' || secretAccessKey === ''
            ? 'S3_ENDPOINT is set, S3_ACCESS_KEY_ID or S3_SECRET_ACCESS_KEY is not'
            : undefined;
      if (problem === undefined) {
        return { endpoint, region: env['S3_REGION'] ?? REGION, accessKeyId, secretAccessKey };
      }
      throw new ConfigError({
        surface: 'testing',
        operation: 'startServers',
        problem,
        hint: 'Set all three, or unset S3_ENDPOINT.',
      });
    },
    write: ({ endpoint, region, accessKeyId, secretAccessKey }) => ({
      S3_ENDPOINT: endpoint,
      S3_REGION: region,
      S3_ACCESS_KEY_ID: accessKeyId,
      S3_SECRET_ACCESS_KEY: secretAccessKey,
    }),
    url: ({ endpoint }) => endpoint,
    async check(connection, signal) {
      await fetchSoon(connection.endpoint, signal);
      if (!(await listsBuckets(connection))) throw new Error('it does not accept the keys');
    },
  },
  container: {
    image: CEPH_IMAGE,
    imageVariable: 'TENANTKIT_S3_IMAGE',
    port: CONTAINER_PORT,
    waitFor: { log: WAITING, times: 1 },
    build: buildCephImage,
    // The container only waits; the daemons are started in it one by one, as on this machine.
    configure: (container) =>
      container.withEntrypoint(['sh', '-c', `echo '${WAITING}'; exec tail -f /dev/null`]),
    async connect(container, note) {
      const ceph = cephInContainer(container, CONTAINER_PORT);
      note('starting monitor, OSD and gateway');
      const keys = await bringUpCeph(ceph);
      const endpoint = `http://${container.getHost()}:${container.getMappedPort(CONTAINER_PORT)}`;
      const connection = { endpoint, region: REGION, ...keys };
      await soundGateway(connection, {
        up: () => untilAccepted(connection),
        restart: async () => {
          await ceph.run('pkill', ['-9', '-x', 'radosgw']);
          await startGateway(ceph);
        },
      });
      return connection;
    },
  },
  native: {
    advice: `install Ceph's S3 gateway (apt-get install ${Object.keys(CEPH_PACKAGES).join(' ')})`,
    missing: ({ platform, findProgram }) => {
      if (platform !== 'linux') return Promise.resolve(undefined);
      const packages = Object.entries(CEPH_PACKAGES);
      return Promise.resolve(
        packages.filter(([, program]) => findProgram(program) === undefined).map(([name]) => name),
      );
    },
    start: (context) => retryOnTakenPort(() => start(context)),
  },
};

let attempts = 0;

async function start({ host, supervisor, dir, signal, note }: NativeContext): Promise<S3Connection> {
  attempts += 1;
  const daemons = new Map<string, Running>();
  const folder = join(dir, `ceph-${attempts}`);
  mkdirSync(folder);
  const port = await host.freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const program = (name: string): string => host.findProgram(name) ?? name;
  const ceph: CephHost = {
    dir: folder,
    endpoint: `127.0.0.1:${port}`,
    monitorPorts: [await host.freePort(), await host.freePort()],
    write: async (path, content) => writeFileSync(path, content, { mode: 0o600 }),
    async run(command, args) {
      note(command);
      signal.throwIfAborted();
      // A program that waits for a daemon which has ended would wait for long: the daemon's end is the news.
      await Promise.race([
        supervisor.run({ command: program(command), args, env: CLEAN }, `s3-${command}`),
        ...[...daemons.values()].map(async (daemon) => {
          const ended = await daemon.ended;
          throw gaveUp(daemon.output(), ended);
        }),
      ]);
    },
    async daemon(name, command, args) {
      // In the foreground, so that the supervisor is their parent, and with the log where we look for it.
      const foreground = { command: program(command), args: [...args, '-d'], env: CLEAN };
      daemons.set(name, await supervisor.spawn(foreground, `s3-${name}-${attempts}`));
    },
  };
  try {
    const keys = await bringUpCeph(ceph);
    const connection = { endpoint, region: REGION, ...keys };
    await soundGateway(connection, {
      up: () => untilGatewayIsUp(daemons, connection, signal),
      restart: async () => {
        const old = daemons.get('rgw');
        daemons.delete('rgw');
        old?.kill('SIGKILL');
        await old?.ended;
        await startGateway(ceph);
      },
    });
    return connection;
  } catch (error) {
    if (error instanceof PortTakenError) for (const daemon of daemons.values()) daemon.kill('SIGKILL');
    throw error;
  }
}

/** CEPH_ARGS and CEPH_CONF of the user's own cluster must not reach ours. */
const CLEAN = { CEPH_ARGS: '', CEPH_CONF: '' };

function untilGatewayIsUp(
  daemons: Map<string, Running>,
  connection: S3Connection,
  signal: AbortSignal,
): Promise<void> {
  const gateway = daemons.get('rgw');
  if (gateway === undefined) throw new Error('the gateway was not started');
  // With our keys: whoever else took the port does not know them.
  return untilUp(gateway, { isUp: () => listsBuckets(connection), within: UP_WITHIN_MS, signal });
}

async function untilAccepted(connection: S3Connection): Promise<void> {
  const deadline = performance.now() + UP_WITHIN_MS;
  while (!(await listsBuckets(connection))) {
    if (performance.now() > deadline)
      throw new Error(`the gateway was not ready within ${UP_WITHIN_MS / 1000} s`);
    await delay(100);
  }
}

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '@tenantkit/core';
import { bringUpCeph, CEPH_PACKAGES, startGateway, startQueryGateway, type CephHost } from './ceph.ts';
import { buildCephImage, CEPH_IMAGE, cephInContainer } from './ceph-image.ts';
import type { NativeContext, S3Connection, ServerDefinition } from './definition.ts';
import { fetchSoon } from './probe.ts';
import { acceptsPostForms, knowsKeys, listsBuckets, soundGateway } from './s3-check.ts';
import type { Running } from './supervisor.ts';
import { PortTakenError, retryOnTakenPort, untilDone, untilUp, whileUp, type Processes } from './wait.ts';

const REGION = 'us-east-1';

/** The gateway's port inside a container. */
const CONTAINER_PORT = 7480;

/** That of the gateway for queries. */
const CONTAINER_QUERY_PORT = 7481;

/** What the container says when the daemons can be started in it. */
const WAITING = 'tenantkit: ready for Ceph';

const UP_WITHIN_MS = 60_000;

/** The longest step takes half a second. */
const STEP_WITHIN_MS = 90_000;

const GONE_WITHIN_MS = 10_000;

/**
 * What a daemon says once its ports are its own. Only the monitor needs it: without keys its clients take whoever
 * has the port for it, another cluster's monitor included, and would change that one.
 */
const OWN_WORDS: ReadonlyMap<string, RegExp> = new Map([['ceph-mon', /\bmon\.a@0\b|mon\.a is new leader/]]);

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
        const { S3_REGION: region = REGION, S3_QUERY_ENDPOINT: queryEndpoint } = env;
        return {
          endpoint,
          region,
          accessKeyId,
          secretAccessKey,
          ...(queryEndpoint === undefined ? {} : { queryEndpoint }),
        };
      }
      throw new ConfigError({
        surface: 'testing',
        operation: 'startServers',
        problem,
        hint: 'Set all three, or unset S3_ENDPOINT.',
      });
    },
    write: ({ endpoint, region, accessKeyId, secretAccessKey, queryEndpoint }) => ({
      S3_ENDPOINT: endpoint,
      S3_REGION: region,
      S3_ACCESS_KEY_ID: accessKeyId,
      S3_SECRET_ACCESS_KEY: secretAccessKey,
      ...(queryEndpoint === undefined ? {} : { S3_QUERY_ENDPOINT: queryEndpoint }),
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
      container
        .withExposedPorts(CONTAINER_QUERY_PORT)
        .withEntrypoint(['sh', '-c', `echo '${WAITING}'; exec tail -f /dev/null`]),
    async connect(container, note) {
      const ceph = limited(cephInContainer(container, [CONTAINER_PORT, CONTAINER_QUERY_PORT]));
      note('starting monitor, OSD and gateway');
      const keys = await bringUpCeph(ceph);
      const at = (port: number): string => `http://${container.getHost()}:${container.getMappedPort(port)}`;
      const queryEndpoint = at(CONTAINER_QUERY_PORT);
      const connection = { endpoint: at(CONTAINER_PORT), region: REGION, ...keys, queryEndpoint };
      await startQueryGateway(ceph);
      await soundGateway(connection, {
        up: () =>
          untilUp(NO_PROCESSES, { isUp: (over) => listsBuckets(connection, over), within: UP_WITHIN_MS }),
        restart: async () => {
          await ceph.run('pkill', ['-9', '-f', 'radosgw.*client.rgw.a']);
          await startGateway(ceph);
        },
      });
      const queries = { ...connection, endpoint: queryEndpoint };
      await untilUp(NO_PROCESSES, { isUp: (over) => listsBuckets(queries, over), within: UP_WITHIN_MS });
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
    start: (context) => retryOnTakenPort((attempt) => start(context, attempt)),
  },
};

/** Every attempt has a folder, ports and processes of its own. */
async function start(
  { host, supervisor, dir, signal, note }: NativeContext,
  attempt: number,
): Promise<S3Connection> {
  const daemons = new Map<string, Running>();
  const folder = join(dir, `ceph-${attempt}`);
  mkdirSync(folder);
  const [port, queryPort] = [await host.freePort(), await host.freePort()];
  const endpoint = `http://127.0.0.1:${port}`;
  const queryEndpoint = `http://127.0.0.1:${queryPort}`;
  let processes = 0;
  const spawn = (command: string, args: readonly string[]): Promise<Running> =>
    supervisor.spawn(
      { command: host.findProgram(command) ?? command, args, env: CLEAN },
      `s3-${attempt}-${(processes += 1)}-${command}`,
    );
  const ceph: CephHost = {
    dir: folder,
    endpoint: `127.0.0.1:${port}`,
    queryEndpoint: `127.0.0.1:${queryPort}`,
    monitorPorts: [await host.freePort(), await host.freePort()],
    write: async (path, content) => writeFileSync(path, content, { mode: 0o600 }),
    async run(command, args) {
      note(command);
      signal.throwIfAborted();
      const program = await spawn(command, args);
      const name = host.findProgram(command) ?? command;
      await untilDone([name, program], { daemons, within: STEP_WITHIN_MS, signal });
    },
    async daemon(name, command, args) {
      // In the foreground, so that the supervisor is their parent, and with the log where we look for it.
      const daemon = await spawn(command, [...args, '-d']);
      daemons.set(name === 'queries' ? `${command} (queries)` : command, daemon);
      const words = OWN_WORDS.get(command);
      if (words === undefined) return;
      await untilUp(daemons, { isUp: () => words.test(daemon.output()), within: UP_WITHIN_MS, signal });
    },
  };
  try {
    const keys = await bringUpCeph(ceph);
    const connection = { endpoint, region: REGION, ...keys, queryEndpoint };
    await startQueryGateway(ceph);
    await soundGateway(connection, {
      // With our keys: whoever else took the port does not know them.
      up: () =>
        untilUp(daemons, { isUp: (over) => knowsKeys(connection, over), within: UP_WITHIN_MS, signal }),
      check: () =>
        whileUp(daemons, (over) => acceptsPostForms(connection, connection, over), {
          within: STEP_WITHIN_MS,
          signal,
          late: 'the gateway did not answer',
        }),
      restart: async () => {
        await end(daemons, ['radosgw'], signal);
        await startGateway(ceph);
      },
    });
    const queries = { ...connection, endpoint: queryEndpoint };
    await untilUp(daemons, { isUp: (over) => knowsKeys(queries, over), within: UP_WITHIN_MS, signal });
    return connection;
  } catch (error) {
    // The next attempt must not meet this one. Where none follows the supervisor ends what is left.
    if (error instanceof PortTakenError) await end(daemons, [...daemons.keys()], signal);
    throw error;
  }
}

/** CEPH_ARGS and CEPH_CONF of the user's own cluster must not reach ours. */
const CLEAN = { CEPH_ARGS: '', CEPH_CONF: '' };

/** Kills these daemons and waits until they are gone. */
async function end(
  daemons: Map<string, Running>,
  names: readonly string[],
  signal: AbortSignal,
): Promise<void> {
  for (const name of names) {
    const daemon = daemons.get(name);
    daemons.delete(name);
    daemon?.kill('SIGKILL');
    const limits = { within: GONE_WITHIN_MS, signal, late: `${name} was killed and has not ended` };
    await whileUp(NO_PROCESSES, async () => daemon?.ended, limits);
  }
}

/** The processes in a container are not ours to watch: their steps have a limit, and end with the container. */
function limited(ceph: CephHost): CephHost {
  const limit = (name: string, step: () => Promise<void>): Promise<void> =>
    whileUp(NO_PROCESSES, step, { within: STEP_WITHIN_MS, late: `${name} was not done` });
  return {
    ...ceph,
    run: (command, args) => limit(command, () => ceph.run(command, args)),
    daemon: (name, command, args) => limit(command, () => ceph.daemon(name, command, args)),
  };
}

const NO_PROCESSES: Processes = new Map();

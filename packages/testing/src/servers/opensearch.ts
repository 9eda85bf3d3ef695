import { randomBytes, randomInt } from 'node:crypto';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ConfigError } from '@tenantkit/core';
import type { NativeContext, OpenSearchConnection, ServerDefinition } from './definition.ts';
import { findJava } from './java.ts';
import { classpathOf, releaseFor } from './maven.ts';
import { fetchSoon } from './probe.ts';
import { retryOnTakenPort, untilUp } from './wait.ts';

const HEAP = ['-Xms512m', '-Xmx512m'];

/** One node can hold no replica: with one wanted, every index would stay yellow. */
const NO_REPLICAS = 'cluster.default_number_of_replicas';

/** The runner takes the first free port above a base, and none above 9299. */
const LOWEST_BASE = 9200;
const BASES = 80;

/** OpenSearch 3, one node, without the security plugin. */
export const opensearch: ServerDefinition<OpenSearchConnection> = {
  name: 'opensearch',
  title: 'OpenSearch',
  env: {
    variables: 'OPENSEARCH_URL',
    read({ OPENSEARCH_URL: url }) {
      if (url === undefined || url === '') return undefined;
      if (URL.canParse(url) && ['http:', 'https:'].includes(new URL(url).protocol)) return { url };
      throw new ConfigError({
        surface: 'testing',
        operation: 'startServers',
        problem: 'OPENSEARCH_URL is not an http:// or https:// URL',
        hint: 'Write it as https://user:password@host:9200, or unset it.',
      });
    },
    write: ({ url }) => ({ OPENSEARCH_URL: url }),
    url: ({ url }) => url,
    async check({ url }, signal) {
      const reply = await fetchSoon(url, signal);
      const text = await reply.text();
      if (!reply.ok) throw new Error(`it answered ${reply.status}`);
      if (!text.includes('"cluster_name"')) throw new Error('what answers there is not OpenSearch');
    },
  },
  container: {
    image: 'opensearchproject/opensearch:3.8.0',
    imageVariable: 'TENANTKIT_OPENSEARCH_IMAGE',
    port: 9200,
    waitFor: { path: '/' },
    configure: (container) =>
      container.withEnvironment({
        'discovery.type': 'single-node',
        [NO_REPLICAS]: '0',
        DISABLE_SECURITY_PLUGIN: 'true',
        DISABLE_INSTALL_DEMO_CONFIG: 'true',
        OPENSEARCH_JAVA_OPTS: HEAP.join(' '),
      }),
    connect: (container) =>
      Promise.resolve({ url: `http://${container.getHost()}:${container.getMappedPort(9200)}` }),
  },
  native: {
    advice:
      'install a JDK (21 or newer for OpenSearch 3) and Maven, which fetches OpenSearch from Maven Central',
    missing: async (host) => {
      const java = await findJava(host);
      return [
        ...(java === undefined ? ['default-jre-headless'] : []),
        ...(host.findProgram('mvn') === undefined ? ['maven'] : []),
      ];
    },
    start,
  },
};

async function start(context: NativeContext): Promise<OpenSearchConnection> {
  const { host, supervisor, dir, signal, note } = context;
  const java = await findJava(host);
  if (java === undefined) throw new Error('no Java was found');
  const release = releaseFor(java.major);
  const classpath = await classpathOf(release, java, context);
  note(`starting OpenSearch ${release} on Java ${java.major}`);

  return retryOnTakenPort(async () => {
    const cluster = `tenantkit-${randomBytes(6).toString('hex')}`;
    const base = join(dir, cluster);
    const config = join(base, 'config');
    mkdirSync(config, { recursive: true });
    writeFileSync(join(config, 'opensearch.yml'), await configuration(context));
    const baseHttpPort = LOWEST_BASE + randomInt(BASES);
    const running = await supervisor.spawn(
      {
        command: java.path,
        args: [
          ...HEAP,
          '-XX:+UseSerialGC',
          '-XX:TieredStopAtLevel=1',
          '-cp',
          classpath,
          'org.codelibs.opensearch.runner.OpenSearchRunner',
          ...flags({ basePath: base, confPath: config, clusterName: cluster, numOfNode: 1, baseHttpPort }),
          '-printOnFailure',
        ],
        cwd: dir,
      },
      `opensearch-${cluster}`,
    );
    // The port is the one that it says it has bound, whatever was free a moment before.
    let url: string | undefined;
    await untilUp(running, {
      isUp: async () => {
        const port = BOUND.exec(running.output())?.[1];
        if (port === undefined) return false;
        url = `http://127.0.0.1:${port}`;
        return (await fetchSoon(`${url}/_cluster/health`, signal)).ok;
      },
      within: 180_000,
      signal,
    });
    if (url === undefined) throw new Error('it did not name its port');
    return { url };
  });
}

const BOUND = /HttpServerTransport\S*\s*\] publish_address \{127\.0\.0\.1:(\d+)\}/;

function flags(values: Readonly<Record<string, string | number>>): string[] {
  return Object.entries(values).flatMap(([name, value]) => [`-${name}`, String(value)]);
}

async function configuration({ host }: NativeContext): Promise<string> {
  const settings = {
    'network.host': '127.0.0.1',
    'transport.port': await host.freePort(),
    'discovery.type': 'single-node',
    [NO_REPLICAS]: 0,
    // A laptop's disk is often fuller than a server's may be; indices would turn read-only.
    'cluster.routing.allocation.disk.threshold_enabled': false,
  };
  return Object.entries(settings)
    .map(([name, value]) => `${name}: ${value}\n`)
    .join('');
}

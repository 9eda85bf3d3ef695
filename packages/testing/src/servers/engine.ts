import { readFileSync } from 'node:fs';
import { request as httpRequest, type RequestOptions } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { homedir } from 'node:os';
import { join } from 'node:path';

/** A container engine that speaks the Docker API: Docker itself, or `podman system service`. */
export interface Engine {
  /** `unix:///var/run/docker.sock`, `tcp://host:2375`, `npipe:////./pipe/docker_engine` */
  readonly url: string;
  /** Folder with ca.pem, cert.pem and key.pem, when the engine wants TLS. */
  readonly certificates?: string;
}

const ANSWERS_WITHIN_MS = 3_000;

/**
 * The first engine that answers a ping on its socket. A `docker` command on the PATH says nothing: it may be
 * there without an engine behind it.
 *
 * @param env - where DOCKER_HOST, DOCKER_TLS_VERIFY, DOCKER_CERT_PATH and XDG_RUNTIME_DIR are looked up
 */
export async function findEngine(env: NodeJS.ProcessEnv): Promise<Engine | undefined> {
  for (const engine of candidates(env)) {
    if (await answers(engine)) return engine;
  }
  return undefined;
}

/**
 * The ids of the containers that carry a label, running or not.
 *
 * @param label - `name` or `name=value`
 */
export async function listContainers(engine: Engine, label: string): Promise<string[]> {
  const filters = encodeURIComponent(JSON.stringify({ label: [label] }));
  const { status, body } = await call(engine, 'GET', `/containers/json?all=true&filters=${filters}`, 10_000);
  if (status !== 200) throw new Error(`the container engine answered ${status} to the listing of containers`);
  return (JSON.parse(body) as { Id: string }[]).map(({ Id }) => Id);
}

/**
 * Removes the containers that carry a label, running or not, with their anonymous volumes.
 *
 * @returns how many there were
 * @throws Error when the engine cannot be reached or keeps a container
 */
export async function removeContainers(engine: Engine, label: string): Promise<number> {
  const ids = await listContainers(engine, label);
  for (const id of ids) {
    const { status } = await call(engine, 'DELETE', `/containers/${id}?force=true&v=true`, 30_000);
    // 404: somebody else was faster. 409: a removal is under way already.
    if (![200, 204, 404, 409].includes(status)) {
      throw new Error(`the container engine answered ${status} to the removal of container ${id}`);
    }
  }
  return ids.length;
}

/** Where an engine may listen, best first. DOCKER_HOST, where it is set, is the only one asked. */
function candidates(env: NodeJS.ProcessEnv): Engine[] {
  const host = env['DOCKER_HOST'];
  if (host !== undefined && host !== '') {
    const certificates = env['DOCKER_TLS_VERIFY'] === '1' ? env['DOCKER_CERT_PATH'] : undefined;
    return [{ url: host, ...(certificates === undefined ? {} : { certificates }) }];
  }
  if (process.platform === 'win32') return [{ url: 'npipe:////./pipe/docker_engine' }];
  const home = homedir();
  const runtime = env['XDG_RUNTIME_DIR'] ?? `/run/user/${process.getuid?.() ?? 0}`;
  const sockets = [
    '/var/run/docker.sock',
    join(runtime, 'docker.sock'),
    join(home, '.docker/run/docker.sock'),
    join(home, '.docker/desktop/docker.sock'),
    join(home, '.colima/default/docker.sock'),
    join(runtime, 'podman/podman.sock'),
    '/run/podman/podman.sock',
    join(home, '.local/share/containers/podman/machine/podman.sock'),
  ];
  return sockets.map((path) => ({ url: `unix://${path}` }));
}

async function answers(engine: Engine): Promise<boolean> {
  try {
    const { status } = await call(engine, 'GET', '/_ping', ANSWERS_WITHIN_MS);
    return status === 200;
  } catch {
    // No socket, nobody behind it, or something that is no container engine: for the choice all the same.
    return false;
  }
}

function call(
  engine: Engine,
  method: string,
  path: string,
  timeout: number,
): Promise<{ status: number; body: string }> {
  const { options, secure } = target(engine);
  const request = secure ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    const sent = request({ ...options, method, path, timeout, headers: { host: 'docker' } }, (reply) => {
      const chunks: Buffer[] = [];
      reply.on('data', (chunk: Buffer) => chunks.push(chunk));
      reply.on('end', () =>
        resolve({ status: reply.statusCode ?? 0, body: Buffer.concat(chunks).toString() }),
      );
      reply.on('error', reject);
    });
    // `timeout` alone only reports silence, it does not end the request.
    sent.on('timeout', () => sent.destroy(new Error(`no answer within ${timeout} ms`)));
    sent.on('error', reject);
    sent.end();
  });
}

function target({ url, certificates }: Engine): { options: RequestOptions; secure: boolean } {
  const { protocol, hostname, port, pathname } = new URL(url);
  if (protocol === 'unix:') return { options: { socketPath: pathname }, secure: false };
  if (protocol === 'npipe:')
    return { options: { socketPath: pathname.replaceAll('/', '\\') }, secure: false };
  const secure = certificates !== undefined || protocol === 'https:';
  const options = { host: hostname, port: port === '' ? (secure ? 2376 : 2375) : Number(port) };
  if (certificates === undefined) return { options, secure };
  const read = (name: string): Buffer => readFileSync(join(certificates, name));
  return {
    options: Object.assign(options, { ca: read('ca.pem'), cert: read('cert.pem'), key: read('key.pem') }),
    secure,
  };
}

import { basename } from 'node:path';
import type { ContainerRecipe, Note } from './definition.ts';
import { removeContainers, type Engine } from './engine.ts';
import type { Host } from './host.ts';
import type { Supervisor } from './supervisor.ts';

const LABEL = 'dev.tenantkit.servers';
const UP_WITHIN_MS = 180_000;

interface ContainerContext {
  readonly engine: Engine;
  readonly host: Host;
  readonly supervisor: Supervisor;
  readonly signal: AbortSignal;
  readonly note: Note;
}

/** Starts a server in a container, through the Testcontainers library. */
export async function startContainer<Connection>(
  recipe: ContainerRecipe<Connection>,
  { engine, host, supervisor, signal, note }: ContainerContext,
): Promise<Connection> {
  const { GenericContainer, Wait } = await attach(engine);
  const run = basename(supervisor.dir);
  // Known before there is any container: one that is just being made when we are killed is found all the same.
  await supervisor.ownContainers(engine, `${LABEL}=${run}`);
  const image = host.env[recipe.imageVariable] ?? recipe.image;
  if (recipe.build !== undefined && image === recipe.image) await recipe.build(image, note);
  note(`starting ${image}`);
  const container = recipe
    .configure(new GenericContainer(image))
    .withExposedPorts(recipe.port)
    .withLabels({ [LABEL]: run })
    .withStartupTimeout(UP_WITHIN_MS)
    .withWaitStrategy(waitStrategy(recipe.waitFor, recipe.port, Wait))
    // Our own supervisor removes it; that also works where the library's clean-up container cannot run.
    .withAutoCleanup(false);

  const working = container.start().then((started) => recipe.connect(started, note));
  try {
    return await orAborted(working, signal);
  } finally {
    // The library cannot be interrupted: a container that it still makes goes as soon as it is there.
    if (signal.aborted) void working.then(remove, remove);
  }

  async function remove(): Promise<void> {
    await removeContainers(engine, `${LABEL}=${run}`).catch((error: Error) => note(error.message));
  }
}

type Library = typeof import('testcontainers');

/** Loads the library and makes it use this engine. */
async function attach(engine: Engine): Promise<Library> {
  const library = await import('testcontainers');
  // It looks for Docker's sockets by itself, not for Podman's, and keeps what it has found first: it is shown the
  // one that answered us.
  const before = process.env['DOCKER_HOST'];
  process.env['DOCKER_HOST'] = engine.url;
  try {
    await library.getContainerRuntimeClient();
  } finally {
    if (before === undefined) delete process.env['DOCKER_HOST'];
    else process.env['DOCKER_HOST'] = before;
  }
  return library;
}

function waitStrategy(
  waitFor: ContainerRecipe<unknown>['waitFor'],
  port: number,
  Wait: Library['Wait'],
): ReturnType<Library['Wait']['forLogMessage']> {
  if ('log' in waitFor) return Wait.forLogMessage(waitFor.log, waitFor.times);
  return Wait.forHttp(waitFor.path, port).forStatusCode(200);
}

function orAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  signal.throwIfAborted();
  return new Promise((resolve, reject) => {
    const onAbort = (): void => reject(signal.reason as Error);
    signal.addEventListener('abort', onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', onAbort));
  });
}

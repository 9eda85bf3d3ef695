import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { StartedTestContainer } from 'testcontainers';
import { CEPH_PACKAGES, type CephHost } from './ceph.ts';
import type { Note } from './definition.ts';
import { failure } from './errors.ts';

/**
 * Made on this machine the first time. Ceph's own demo images have no image for ARM and set up much more than a
 * gateway; Debian's packages are the same ones that run without a container engine, so that a test meets the same
 * server everywhere.
 */
export const CEPH_IMAGE = 'localhost/tenantkit-ceph-rgw:16.2.15';

const DOCKERFILE = `FROM debian:12.12-slim
RUN apt-get update \\
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends ${Object.keys(CEPH_PACKAGES).join(' ')} procps \\
 && rm -rf /var/lib/apt/lists/*
`;

/** What the engine says while it builds. */
interface BuildStep {
  readonly stream?: string;
  readonly error?: string;
}

/**
 * Makes the image from Debian's packages unless the engine has it. Not with the library's own builder: that one
 * wants its clean-up container, and does not say why a build has failed.
 */
export async function buildCephImage(image: string, note: Note): Promise<void> {
  const { ImageName, getContainerRuntimeClient } = await import('testcontainers');
  const engine = await getContainerRuntimeClient();
  if (await engine.image.exists(ImageName.fromString(image))) return;
  note(`building the image ${image} from Debian's packages (once)`);
  const context = await mkdtemp(join(tmpdir(), 'tenantkit-image-'));
  try {
    await writeFile(join(context, 'Dockerfile'), DOCKERFILE);
    const { dockerode } = engine.container;
    const output = await dockerode.buildImage({ context, src: ['Dockerfile'] }, { t: image });
    await new Promise<void>((resolve, reject) => {
      const said: string[] = [];
      dockerode.modem.followProgress(
        output,
        (error: Error | null) =>
          error === null
            ? resolve()
            : reject(failure(`${image} could not be built: ${error.message}`, said.join(''), 15)),
        ({ stream = '', error }: BuildStep) => said.push(stream, error ?? ''),
      );
    });
  } finally {
    await rm(context, { recursive: true, force: true });
  }
}

/** Ceph's host inside a container. */
export function cephInContainer(
  container: StartedTestContainer,
  [port, queryPort]: readonly [number, number],
): CephHost {
  const run = async (command: string, args: readonly string[]): Promise<void> => {
    const { exitCode, output } = await container.exec([command, ...args]);
    if (exitCode !== 0)
      throw new Error(`${command} ended with code ${exitCode}: ${output.trim().slice(-1_000)}`);
  };
  return {
    dir: '/var/lib/tenantkit',
    endpoint: `0.0.0.0:${port}`,
    queryEndpoint: `0.0.0.0:${queryPort}`,
    monitorPorts: [3300, 6789],
    write: (target, content) => container.copyContentToContainer([{ content, target, mode: 0o644 }]),
    run,
    // These fork into the background by themselves, and end with the container.
    daemon: (_name, command, args) => run(command, args),
  };
}

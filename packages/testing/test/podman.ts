import { cpSync, mkdirSync, realpathSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { findEngine, type Engine } from '../src/servers/engine.ts';
import type { Host } from '../src/servers/host.ts';
import { installPackages } from '../src/servers/install.ts';
import { startSupervisor } from '../src/servers/supervisor.ts';

/** A container engine for a test, and the variables under which `startServers` finds it. */
export interface TestEngine extends AsyncDisposable {
  readonly engine: Engine;
  readonly env: Readonly<Record<string, string>>;
}

const IMAGE = 'localhost/tenantkit-redis:host';
const PACKAGES = {
  podman: 'podman',
  runc: 'runc',
  netavark: 'netavark',
  iptables: 'iptables',
  'redis-server': 'redis-server',
};

/**
 * The machine's own engine, with the official images. Where there is none, and this is root on Debian or Ubuntu:
 * Podman's service on a socket of its own. Images cannot be pulled everywhere, so that one is made from the
 * host's redis-server and the libraries it needs.
 */
export async function containerEngine(host: Host): Promise<TestEngine> {
  const engine = await host.findEngine();
  if (engine !== undefined) {
    return { engine, env: { DOCKER_HOST: engine.url }, [Symbol.asyncDispose]: () => Promise.resolve() };
  }
  if (!host.isRoot || !host.hasApt) {
    throw new Error(
      'This test needs a container engine: start Docker or Podman. As root on Debian it starts one itself.',
    );
  }
  return startPodman(host);
}

async function startPodman(host: Host): Promise<TestEngine> {
  const supervisor = await startSupervisor((message) => process.stderr.write(`${message}\n`));
  const { dir } = supervisor;
  try {
    const missing = Object.entries(PACKAGES).filter(
      // netavark is no command: Debian keeps it in a folder of Podman's.
      ([, program]) => host.findProgram(program, ['/usr/lib/podman']) === undefined,
    );
    if (missing.length > 0) {
      const names = missing.map(([name]) => name);
      process.stderr.write(`installing ${names.join(', ')}\n`);
      await installPackages(names, supervisor);
    }
    const config = join(dir, 'containers.conf');
    // Both for hosts that are containers or small virtual machines themselves: limits that may not be raised
    // there, and crun, which wants more of the control groups than there is.
    writeFileSync(
      config,
      '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=1024:1024"]\n[engine]\nruntime="runc"\n',
    );
    const env = { CONTAINERS_CONF: config };
    const storage = [
      '--root',
      join(dir, 'storage'),
      '--runroot',
      join(dir, 'run'),
      '--storage-driver',
      'vfs',
    ];
    const podman = (args: string[], name: string): Promise<string> =>
      supervisor.run({ command: 'podman', args: [...storage, ...args], env }, name);

    const files = join(dir, 'rootfs');
    await copyProgram(host.findProgram('redis-server') ?? 'redis-server', files, (program) =>
      supervisor.run({ command: 'ldd', args: [program] }, 'ldd'),
    );
    await supervisor.run({ command: 'tar', args: ['-C', files, '-cf', join(dir, 'rootfs.tar'), '.'] }, 'tar');
    await podman(
      ['import', '--change', 'ENV=PATH=/usr/bin', join(dir, 'rootfs.tar'), IMAGE],
      'podman-import',
    );

    const url = `unix://${join(dir, 'podman.sock')}`;
    const service = ['system', 'service', '--time=0', url];
    const running = await supervisor.spawn(
      { command: 'podman', args: [...storage, ...service], env },
      'podman',
    );
    for (;;) {
      const found = await findEngine({ DOCKER_HOST: url });
      if (found !== undefined) {
        return {
          engine: found,
          env: { DOCKER_HOST: url, TENANTKIT_REDIS_IMAGE: IMAGE },
          async [Symbol.asyncDispose]() {
            // What a failed test left: mounts would keep the folder from being removed.
            await podman(['rm', '--all', '--force'], 'podman-rm');
            await supervisor.stop();
          },
        };
      }
      if (running.hasEnded() !== undefined) throw new Error(`podman did not start:\n${running.output()}`);
    }
  } catch (error) {
    await supervisor.stop();
    throw error;
  }
}

/** A root file system with one program and what it is linked against. */
async function copyProgram(
  program: string,
  root: string,
  ldd: (program: string) => Promise<string>,
): Promise<void> {
  const libraries = [...(await ldd(program)).matchAll(/(?:=> )?(\/\S+) \(0x/g)].map(([, path]) => path ?? '');
  for (const path of libraries) {
    mkdirSync(join(root, dirname(path)), { recursive: true });
    cpSync(realpathSync(path), join(root, path));
  }
  for (const folder of ['usr/bin', 'tmp', 'data', 'etc', 'proc', 'sys', 'dev']) {
    mkdirSync(join(root, folder), { recursive: true });
  }
  const real = realpathSync(program);
  cpSync(real, join(root, 'usr/bin/redis-server'));
  symlinkSync('usr/bin', join(root, 'bin'));
}

import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it, vi } from 'vitest';
import { thisHost } from '../src/servers/host.ts';
import { classpathOf } from '../src/servers/maven.ts';
import type { ServerProgress } from '../src/servers/progress.ts';
import { startServersOn } from '../src/servers/start.ts';
import { startSupervisor } from '../src/servers/supervisor.ts';
import { bareMachine } from './machine.ts';

const { freePort, hasApt } = thisHost();

/** Lists, cache and packages of apt-get and dpkg for this file alone: the machine's own are not touched. */
const folder = mkdtempSync(join(tmpdir(), 'tenantkit-test-'));
afterAll(() => rmSync(folder, { recursive: true }));
afterEach(() => vi.unstubAllEnvs());

it('an installation from sources that do not answer says so, and until then that it installs', async () => {
  withoutPackages(`deb [trusted=yes] http://127.0.0.1:${await freePort()}/debian stable main`);
  const told: ServerProgress[] = [];
  const error = await startServersOn(bareMachine({ isRoot: true, hasApt: true, freePort }), {
    redis: true,
    onProgress: (step) => void told.push(step),
  }).then(
    () => new Error('it started'),
    (error: Error) => error,
  );

  expect(error).toMatchObject({ code: 'SERVER_FAILED', server: 'redis' });
  expect(error.message).toMatch(
    /redis-server could not be installed; are the package sources .* reachable\?/,
  );
  // Where there is no apt-get the attempt ends before it.
  if (hasApt) expect(error.message).toContain('none of the package sources of this machine answered');
  expect(told.map(({ phase, message }) => `${phase} ${message}`)).toEqual([
    expect.stringMatching(/^starting installing redis-server \(apt-get/),
    expect.stringMatching(/^failed .*redis-server could not be installed/),
  ]);
});

it('a repository that takes the connection and never answers is given up, and Maven with it', async () => {
  const supervisor = await startSupervisor(() => undefined);
  try {
    const mvn = join(folder, 'mvn');
    const pid = join(folder, 'pid');
    writeFileSync(mvn, `#!/bin/sh\necho $$ > ${pid}\necho Downloading from central\nexec sleep 600\n`, {
      mode: 0o755,
    });
    const host = bareMachine({
      env: { XDG_CACHE_HOME: join(folder, 'cache') },
      findProgram: (name) => (name === 'mvn' ? mvn : undefined),
    });
    const { signal } = new AbortController();
    const context = { host, supervisor, dir: folder, signal, note: () => undefined };
    const download = classpathOf('3.8.0', { path: 'java', home: folder, major: 21 }, context, 1000);
    await expect(download).rejects.toThrow(
      /3\.8\.0 could not be downloaded; is Maven Central.*reachable\? Maven got no answer for 1 s:\nDownloading/,
    );
    await vi.waitFor(
      () => expect(() => process.kill(Number(readFileSync(pid, 'utf8')), 0)).toThrow('ESRCH'),
      30_000,
    );
  } finally {
    await supervisor.stop();
  }
});

/** A machine on which no package is installed, and one source of packages. */
function withoutPackages(source: string): void {
  const admin = join(folder, 'dpkg');
  for (const name of ['dpkg', 'lists/partial', 'archives/partial', 'log'])
    mkdirSync(join(folder, name), { recursive: true });
  writeFileSync(join(admin, 'status'), '');
  writeFileSync(join(folder, 'sources.list'), `${source}\n`);
  const settings = {
    'Dir::Etc::sourcelist': join(folder, 'sources.list'),
    'Dir::Etc::sourceparts': '/dev/null',
    'Dir::State': folder,
    'Dir::State::status': join(admin, 'status'),
    'Dir::Cache': folder,
    'Dir::Log': join(folder, 'log'),
  };
  const lines = Object.entries(settings).map(([name, value]) => `${name} "${value}";\n`);
  writeFileSync(join(folder, 'apt.conf'), lines.join(''));
  vi.stubEnv('APT_CONFIG', join(folder, 'apt.conf'));
  vi.stubEnv('DPKG_ADMINDIR', admin);
}

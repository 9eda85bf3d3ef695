import { existsSync, readdirSync } from 'node:fs';
import { connect } from 'node:net';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, vi } from 'vitest';
import { alive, descendants, recordsIn, startChild, type Child } from './child.ts';

/** What was promised for a parent that is killed. */
// Servers come up in every test, on whatever the machine has left.
vi.setConfig({ testTimeout: 180_000 });

const WITHIN = { timeout: 60_000, interval: 20 };

const NOTHING = { recorded: [], started: [], folders: [] };

/** All of these run on binaries of this machine, whatever else it has. */
const NATIVE = { TENANTKIT_SERVERS: 'native' };

describe('servers end with the process that started them', () => {
  it.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('when it gets %s', async (signal) => {
    using child = startChild('up', ['redis', 's3'], NATIVE);
    const records = await expectUp(child, 4);
    child.process.kill(signal);
    expect((await child.ended).signal).toBe(signal);
    await expect.poll(left(child, records), WITHIN).toEqual(NOTHING);
  });

  it.each(['SIGINT', 'SIGKILL'] as const)('when its whole process group gets %s', async (signal) => {
    using child = startChild('up', ['redis'], NATIVE);
    const records = await expectUp(child, 2);
    process.kill(-(child.process.pid ?? 0), signal);
    expect((await child.ended).signal).toBe(signal);
    await expect.poll(left(child, records), WITHIN).toEqual(NOTHING);
  });

  it.each([
    ['is done without stopping them', 'done', 0],
    ['exits', 'exit', 0],
    ['ends with an error', 'throw', 1],
  ])('when it %s', async (_, how, code) => {
    using child = startChild('end', [how], NATIVE);
    await child.says;
    expect((await child.ended).code).toBe(code);
    await expect.poll(left(child, []), WITHIN).toEqual(NOTHING);
  });

  it.each(['ceph-mon', 'ceph-osd', 'radosgw-admin'])(
    'when it is killed in the middle of the start, at %s',
    async (step) => {
      using child = startChild('up', ['redis', 's3', 'die-at', step], NATIVE);
      const records: ReturnType<typeof recordsIn> = [];
      // What is started and gone again before it can be listed needs no proof.
      const timer = setInterval(() => records.push(...recordsIn(child.temp)), 5);
      const { signal } = await child.ended;
      clearInterval(timer);
      expect(signal).toBe('SIGKILL');
      expect(
        new Set(records.map((record) => (record.kind === 'containers' ? 0 : record.pid))).size,
      ).toBeGreaterThan(1);
      await expect.poll(left(child, records), WITHIN).toEqual(NOTHING);
    },
  );

  it('when their supervisor is killed, too: by the parent', async () => {
    using child = startChild('up', ['redis'], NATIVE);
    const records = await expectUp(child, 2);
    process.kill(supervisorOf(records), 'SIGKILL');
    await expect.poll(left(child, records), WITHIN).toEqual(NOTHING);
  });

  it('when both are killed at once: by the next start', async () => {
    using child = startChild('up', ['redis'], NATIVE);
    const records = await expectUp(child, 2);
    const supervisor = supervisorOf(records);
    process.kill(supervisor, 'SIGSTOP');
    child.process.kill('SIGKILL');
    await child.ended;
    process.kill(supervisor, 'SIGKILL');
    await vi.waitUntil(() => !alive(records).includes(supervisor), WITHIN);
    // The positive control: nobody has cleared up yet.
    expect(alive(records)).toHaveLength(1);

    using next = startChild('end', ['exit'], { ...NATIVE, TMPDIR: child.temp });
    await next.says;
    await expect.poll(left(child, records), WITHIN).toEqual(NOTHING);
  });

  it('when a Vitest run is interrupted', async () => {
    const vitest = `${dirname(fileURLToPath(import.meta.resolve('vitest/package.json')))}/vitest.mjs`;
    const config = fileURLToPath(new URL('children/vitest.config.ts', import.meta.url));
    using child = startChild(
      'vitest',
      [vitest, 'run', '--config', config, '--root', dirname(config)],
      NATIVE,
    );
    const records = await expectUp(child, 2);
    process.kill(-(child.process.pid ?? 0), 'SIGINT');
    await child.ended;
    await expect.poll(left(child, records), WITHIN).toEqual(NOTHING);
  });
});

/** Waits until the child says that its servers are up; shows that they are, and lists their processes. */
async function expectUp(child: Child, processes: number): Promise<ReturnType<typeof recordsIn>> {
  const { REDIS_URL } = await child.says;
  const records = recordsIn(child.temp);
  expect(alive(records).length, 'the supervisor and its servers').toBeGreaterThanOrEqual(processes);
  if (process.platform === 'linux') {
    expect(descendants(child.temp).length, 'the child itself, too').toBeGreaterThan(processes);
  }
  expect(await answers(REDIS_URL ?? '')).toBe(true);
  return records;
}

/** What is left of the servers of a child: for `expect.poll`. */
function left(child: Child, records: ReturnType<typeof recordsIn>): () => object {
  return () => ({
    recorded: alive(records),
    // The child itself may go on: what it has started may not.
    started: descendants(child.temp).filter((pid) => pid !== child.process.pid),
    folders: folders(child.temp),
  });
}

function folders(temp: string): string[] {
  return existsSync(temp) ? readdirSync(temp).filter((name) => name.startsWith('tenantkit-servers-')) : [];
}

function supervisorOf(records: ReturnType<typeof recordsIn>): number {
  const found = records.find(({ kind }) => kind === 'supervisor');
  if (found === undefined || found.kind === 'containers')
    throw new Error('no supervisor has recorded itself');
  return found.pid;
}

function answers(url: string): Promise<boolean> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname);
    socket.once('error', () => resolve(false));
    socket.once('data', () => {
      socket.destroy();
      resolve(true);
    });
    socket.write('PING\r\n');
  });
}

import { execFileSync } from 'node:child_process';
import { createServer, type Server, type Socket } from 'node:net';
import {
  chmodSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ListBucketsCommand } from '@aws-sdk/client-s3';
import { Redis } from 'ioredis';
import { afterAll, describe, expect, inject, it, vi } from 'vitest';
import { thisHost, type Host } from '../src/servers/host.ts';
import { startServersOn } from '../src/servers/start.ts';
import type { ServerProgress } from '../src/servers/progress.ts';
import { knowsKeys, listsBuckets, rawS3 } from '../src/servers/s3-check.ts';
import { startSupervisor, type Running } from '../src/servers/supervisor.ts';
import { PortTakenError, untilDone, untilUp, whileUp } from '../src/servers/wait.ts';
import { bareMachine, ownPrograms } from './machine.ts';

const provided = inject('servers');

// Other runs have folders of their own in the usual place.
const temp = mkdtempSync(join(tmpdir(), 'tenantkit-test-'));
// PostgreSQL runs as another user where this is root.
chmodSync(temp, 0o711);
process.env['TMPDIR'] = temp;
afterAll(() => rmSync(temp, { recursive: true }));

/** What a server says that lists no buckets to anybody who asks. */
const BUCKETS = page(
  '<ListAllMyBucketsResult><Owner><ID>x</ID></Owner><Buckets></Buckets></ListAllMyBucketsResult>',
);

// Several servers come up in one test, on whatever the machine has left.
vi.setConfig({ testTimeout: 180_000 });

// What is waited for comes in its own time.
const PATIENT = { timeout: 30_000 };

describe('servers of the environment', () => {
  it('are used as they are, and are left alone by stop()', async () => {
    const host = bareMachine({
      env: {
        REDIS_URL: provided.redis.url,
        S3_ENDPOINT: provided.s3.endpoint,
        S3_ACCESS_KEY_ID: provided.s3.accessKeyId,
        S3_SECRET_ACCESS_KEY: provided.s3.secretAccessKey,
        OPENSEARCH_URL: provided.opensearch.url,
        DATABASE_URL: provided.postgres.url,
      },
    });
    const servers = await startServersOn(host, {
      redis: true,
      s3: true,
      opensearch: true,
      postgres: true,
      quiet: true,
    });
    expect(servers.env()).toEqual({ ...host.env, S3_REGION: 'us-east-1' });
    expect(servers.redis).toEqual({ url: provided.redis.url, provider: 'env' });
    await servers.stop();
    const redis = new Redis(provided.redis.url);
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
  });

  it.concurrent.each([
    ['redis', { REDIS_URL: 'redis://user:secret@127.0.0.1:PORT/3' }, 'redis://127.0.0.1:PORT/3'],
    [
      's3',
      { S3_ENDPOINT: 'http://127.0.0.1:PORT', S3_ACCESS_KEY_ID: 'secret', S3_SECRET_ACCESS_KEY: 'secret' },
      'http://127.0.0.1:PORT',
    ],
    ['opensearch', { OPENSEARCH_URL: 'http://user:secret@127.0.0.1:PORT' }, 'http://127.0.0.1:PORT'],
    [
      'postgres',
      { DATABASE_URL: 'postgresql://user:secret@127.0.0.1:PORT/d' },
      'postgresql://127.0.0.1:PORT/d',
    ],
  ])(
    '%s: where nothing or nobody answers the error names the URL without credentials',
    async (name, env, shown) => {
      const port = String(await thisHost({}).freePort());
      const variables = Object.fromEntries(
        Object.entries(env).map(([key, value]) => [key, value.replace('PORT', port)]),
      );
      const error = await failure(bareMachine({ env: variables }), { [name]: true });
      expect(error).toMatchObject({ code: 'STORE_UNREACHABLE' });
      expect(error.message).toContain(shown.replace('PORT', port));
      expect(JSON.stringify([error.message, String(error.cause)])).not.toContain('secret');

      // Something takes the connection and never says a word: no hang.
      await using silent = await listening(
        createServer(() => undefined),
        Number(port),
      );
      expect(silent.server.listening).toBe(true);
      expect(await failure(bareMachine({ env: variables }), { [name]: true })).toMatchObject({
        code: 'STORE_UNREACHABLE',
      });
    },
  );

  it.each([
    ['redis', 'REDIS_URL', 'redis://127.0.0.1:PORT'],
    ['postgres', 'DATABASE_URL', 'postgresql://127.0.0.1:PORT/d'],
    ['opensearch', 'OPENSEARCH_URL', 'http://127.0.0.1:PORT'],
  ])('%s: another kind of server is not taken for it', async (name, variable, url) => {
    await using web = await listening(
      createServer(
        (socket) =>
          void socket.on('error', () => undefined).end('HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi'),
      ),
    );
    const error = await failure(bareMachine({ env: { [variable]: url.replace('PORT', String(web.port)) } }), {
      [name]: true,
    });
    expect(String(error.cause)).toContain('what answers there is not');
  });

  it('wrong credentials are named as such', async () => {
    const url = provided.redis.url.replace('redis://', 'redis://nobody:secret@');
    const error = await failure(bareMachine({ env: { REDIS_URL: url } }), { redis: true });
    expect(String(error.cause)).toContain('WRONGPASS');
    const { endpoint, accessKeyId } = provided.s3;
    const env = { S3_ENDPOINT: endpoint, S3_ACCESS_KEY_ID: accessKeyId, S3_SECRET_ACCESS_KEY: 'secret' };
    const s3 = await failure(bareMachine({ env }), { s3: true });
    expect(String(s3.cause)).toContain('it does not accept the keys');
    expect(JSON.stringify([error.message, s3.message])).not.toContain('secret');
  });
});

describe('servers of this machine', () => {
  it('takes another port when the one that was free is taken', async () => {
    await using taken = await listening(createServer());
    const ports = [taken.port];
    const asked: number[] = [];
    const freePort = async (): Promise<number> => {
      const port = ports.pop() ?? (await thisHost({}).freePort());
      asked.push(port);
      return port;
    };
    await using servers = await startServersOn(ownPrograms({ freePort }), { redis: true, quiet: true });
    expect(asked).toHaveLength(2);
    expect(servers.redis.url).toBe(`redis://127.0.0.1:${asked[1]}`);
  });

  it('gives up when every port is taken, names the reason, and leaves nothing', async () => {
    await using taken = await listening(createServer());
    const before = folders();
    const error = await failure(ownPrograms({ freePort: () => Promise.resolve(taken.port) }), {
      redis: true,
    });
    expect(error).toMatchObject({ code: 'SERVER_FAILED', server: 'redis' });
    expect(error.message).toMatch(/in use/);
    expect(folders()).toEqual(before);
  });

  describe('S3 takes other ports, in a folder of its own, and nothing of the first attempt is left', () => {
    it.each([
      { what: 'gateway', who: 'never says a word', turn: 0, answer: undefined },
      { what: 'gateway', who: 'says yes to everything', turn: 0, answer: BUCKETS },
      { what: 'query gateway', who: 'says yes to everything', turn: 1, answer: BUCKETS },
      { what: 'monitor', who: 'never says a word', turn: 2, answer: undefined },
      { what: 'monitor', who: 'never says a word (second port)', turn: 3, answer: undefined },
    ])('the port of the $what is taken by one who $who', async ({ what, turn, answer }) => {
      await using taken = await listening(answer === undefined ? createServer() : saying(answer));
      const before = folders();
      const asked: number[] = [];
      const freePort = async (): Promise<number> => {
        const port = asked.length === turn ? taken.port : await thisHost({}).freePort();
        asked.push(port);
        return port;
      };
      // At the first attempt it takes its time: whoever has its port can answer long before it ends.
      const slow = join(temp, `slow-${what.replace(' ', '-')}`);
      const program = what === 'monitor' ? 'ceph-mon' : 'radosgw';
      const real = String(ownPrograms().findProgram(program));
      const script = `case "$*" in *--mkfs*) ;; *ceph-1/*) sleep 2;; esac; exec ${real} "$@"`;
      writeFileSync(slow, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
      const findProgram = (name: string, more?: readonly string[]): string | undefined =>
        name === program ? slow : ownPrograms().findProgram(name, more);
      const host = ownPrograms({ freePort, findProgram });
      await using servers = await startServersOn(host, { s3: true, quiet: true });
      expect(asked).toHaveLength(8);
      expect(servers.s3).toMatchObject({
        endpoint: `http://127.0.0.1:${asked[4]}`,
        queryEndpoint: `http://127.0.0.1:${asked[5]}`,
      });
      expect(await listsBuckets(servers.s3)).toBe(true);
      // What the monitor is told must not reach whoever has its port.
      if (what === 'monitor') expect(taken.met()).toBe(0);

      const folder = folders().find((name) => !before.includes(name)) ?? '';
      expect(readdirSync(join(temp, folder, 's3'))).toEqual(['ceph-1', 'ceph-2']);
      const commands = commandLines();
      const running = (attempt: string): string[] =>
        commands.filter((command) => command.includes(join(temp, folder, 's3', attempt)));
      expect(running('ceph-2')).toHaveLength(4);
      expect(running('ceph-1')).toEqual([]);
    });
  });

  it('S3 gives up when every port is taken, names the reason, and leaves nothing', async () => {
    await using taken = await listening(createServer());
    const before = folders();
    let asked = 0;
    const freePort = (): Promise<number> => {
      asked += 1;
      return Promise.resolve(taken.port);
    };
    const error = await failure(ownPrograms({ freePort }), { s3: true });
    expect(error).toMatchObject({ code: 'SERVER_FAILED', server: 's3' });
    expect(error.message).toMatch(/ceph-mon ended with code 1:[^]*already in use/);
    expect(asked).toBe(20);
    expect(folders()).toEqual(before);
  });

  it.each(['ceph-mon', 'ceph-osd', 'radosgw'])(
    'S3: %s that ends is noticed at once, and its last words are in the error',
    async (name) => {
      const before = folders();
      const real = ownPrograms().findProgram(name);
      const broken = join(temp, `broken-${name}`);
      // It sets itself up as it should, and then does not stay.
      writeFileSync(
        broken,
        `#!/bin/sh\ncase " $* " in *' --mkfs '*) exec ${real} "$@";; esac\necho 'no luck'\nexit 3\n`,
        { mode: 0o755 },
      );
      const findProgram = (program: string, more?: readonly string[]): string | undefined =>
        program === name ? broken : ownPrograms().findProgram(program, more);
      const error = await failure(ownPrograms({ findProgram }), { s3: true });
      expect(error).toMatchObject({ code: 'SERVER_FAILED', server: 's3' });
      expect(error.message).toContain(`${name} ended with code 3:\nno luck`);
      expect(folders()).toEqual(before);
    },
    30_000,
  );

  it('stop() can be called twice, and is what `await using` calls', async () => {
    const before = folders();
    const servers = await startServersOn(ownPrograms(), { redis: true, quiet: true });
    expect(folders()).toHaveLength(before.length + 1);
    await servers.stop();
    await servers.stop();
    await servers[Symbol.asyncDispose]();
    expect(folders()).toEqual(before);
  });

  it('two runs at the same time do not meet', async () => {
    const start = (): ReturnType<typeof startServersOn<{ redis: true; s3: true; quiet: true }>> =>
      startServersOn(ownPrograms(), { redis: true, s3: true, quiet: true });
    const [one, two] = await Promise.all([start(), start()]);
    expect(one.redis.url).not.toBe(two.redis.url);
    expect(one.s3.endpoint).not.toBe(two.s3.endpoint);
    await one.stop();
    const redis = new Redis(two.redis.url);
    expect(await redis.ping()).toBe('PONG');
    redis.disconnect();
    await two.stop();
  });

  it('a signal gives up the start with its reason, and leaves nothing', async () => {
    const before = folders();
    const controller = new AbortController();
    const reason = new Error('enough');
    const onProgress = ({ message }: ServerProgress): void => {
      if (message === 'ceph-osd') controller.abort(reason);
    };
    const starting = startServersOn(ownPrograms(), {
      s3: true,
      redis: true,
      signal: controller.signal,
      onProgress,
    });
    await expect(starting).rejects.toBe(reason);
    expect(folders()).toEqual(before);
    await expect(
      startServersOn(ownPrograms(), { redis: true, signal: AbortSignal.abort(reason) }),
    ).rejects.toBe(reason);
  });

  it('does not wait for a step that takes long, be it a signal or another server that ends the start', async () => {
    const before = folders();
    const endless = join(temp, 'endless');
    writeFileSync(endless, '#!/bin/sh\nexec sleep 600\n', { mode: 0o755 });
    const host = (programs: Readonly<Record<string, string>>): Host =>
      ownPrograms({ findProgram: (name, more) => programs[name] ?? ownPrograms().findProgram(name, more) });
    const controller = new AbortController();
    const reason = new Error('enough');
    const starting = startServersOn(host({ monmaptool: endless }), {
      s3: true,
      signal: controller.signal,
      onProgress: ({ message }) => message === 'monmaptool' && controller.abort(reason),
    });
    await expect(starting).rejects.toBe(reason);

    const programs = host({ monmaptool: endless, 'redis-server': '/bin/false' });
    expect(await failure(programs, { redis: true, s3: true })).toMatchObject({ server: 'redis' });
    expect(folders()).toEqual(before);
  });

  it('one server that fails takes the others with it, at once', async () => {
    const before = folders();
    // A program of that name which is none.
    const findProgram = (name: string, more?: readonly string[]): string | undefined =>
      name === 'ceph-mon' ? '/bin/false' : ownPrograms().findProgram(name, more);
    const error = await failure(ownPrograms({ findProgram }), { redis: true, s3: true });
    expect(error).toMatchObject({ code: 'SERVER_FAILED', server: 's3' });
    expect(error.message).toContain('/bin/false ended with code 1');
    expect(folders()).toEqual(before);
  });

  it('progress tells every server, its provider, the time, and the URL without credentials', async () => {
    const told: ServerProgress[] = [];
    await using servers = await startServersOn(ownPrograms(), {
      redis: true,
      postgres: true,
      onProgress: (step) => void told.push(step),
    });
    for (const server of ['redis', 'postgres'] as const) {
      const [first, ...others] = told.filter((step) => step.server === server);
      expect(first).toMatchObject({ phase: 'starting', provider: 'native' });
      expect(others.at(-1)).toMatchObject({ phase: 'ready' });
      expect(others.at(-1)?.elapsed).toBeGreaterThan(0);
    }
    const { password } = new URL(servers.postgres.url);
    expect(password).not.toBe('');
    expect(JSON.stringify(told)).not.toContain(password);
  });
});

describe('a wait for a process', () => {
  const NEVER = new Promise<never>(() => undefined);

  async function running(script: string): Promise<{ running: Running } & AsyncDisposable> {
    const supervisor = await startSupervisor(() => undefined);
    const process = await supervisor.spawn({ command: 'sh', args: ['-c', script] }, 'script');
    return { running: process, [Symbol.asyncDispose]: () => supervisor.stop() };
  }

  it.each([
    ['echo no luck; exit 3', Error, 'it ended with code 3:\nno luck'],
    ['echo Address already in use; exit 1', PortTakenError, 'already in use'],
    ['exit 98', PortTakenError, 'it ended with code 98'],
  ])('ends with the process, whatever it is asked then: %s', async (script, kind, words) => {
    await using own = await running(script);
    let asked: AbortSignal | undefined;
    const isUp = (over: AbortSignal): Promise<boolean> => {
      asked = over;
      return NEVER;
    };
    const error = await untilUp(own.running, { isUp, within: 60_000 }).catch((reason: unknown) => reason);
    expect(error).toBeInstanceOf(kind);
    expect(error instanceof PortTakenError).toBe(kind === PortTakenError);
    expect(String(error)).toContain(words);
    expect(asked?.aborted).toBe(true);
  });

  it('ends when its time is over, with what was written', async () => {
    await using own = await running('echo so far; exec sleep 600');
    await vi.waitUntil(() => own.running.output() !== '', PATIENT);
    const isUp = (): Promise<boolean> => NEVER;
    await expect(untilUp(own.running, { isUp, within: 100 })).rejects.toThrow(
      'it was not ready within 0.1 s:\nso far',
    );
    const reason = new Error('enough');
    const controller = new AbortController();
    const aborted = untilUp(own.running, { isUp, within: 60_000, signal: controller.signal });
    controller.abort(reason);
    await expect(aborted).rejects.toBe(reason);
    // The control: one that is up in time.
    await untilUp(own.running, { isUp: () => true, within: 60_000 });
  });

  it('takes no answer for that of a process which has ended', async () => {
    await using own = await running('exit 3');
    await own.running.ended;
    await expect(untilUp(own.running, { isUp: () => true, within: 60_000 })).rejects.toThrow('code 3');
    const limits = { within: 60_000, late: 'it was not done' };
    const processes = new Map([['server', own.running]]);
    const answered = whileUp(processes, () => Promise.resolve('an answer'), limits);
    await expect(answered).rejects.toThrow('server ended with code 3');
    expect(await whileUp(new Map(), () => Promise.resolve('an answer'), limits)).toBe('an answer');
  });

  it('gives the end of the process as the reason when a request broke because of it', async () => {
    await using own = await running('sleep 0.05; exit 3');
    const isUp = (): Promise<boolean> => Promise.reject(new Error('ECONNRESET'));
    await expect(untilUp(own.running, { isUp, within: 60_000 })).rejects.toThrow('it ended with code 3');
  });

  it('a program that is not waited for any longer is killed, be it the time or a daemon that ended it', async () => {
    await using daemon = await running('sleep 0.3; exit 3');
    for (const [daemons, words] of [
      [new Map(), 'program was not done within 0.1 s:\nso far'],
      [new Map([['daemon', daemon.running]]), 'daemon ended with code 3'],
    ] as const) {
      await using program = await running('echo so far; exec sleep 600');
      await vi.waitUntil(() => program.running.output() !== '', PATIENT);
      const within = daemons.size === 0 ? 100 : 60_000;
      await expect(untilDone(['program', program.running], { daemons, within })).rejects.toThrow(words);
      expect(await program.running.ended).toMatchObject({ signal: 'SIGKILL' });
    }
    await using done = await running('exit 0');
    await untilDone(['program', done.running], { daemons: new Map(), within: 60_000 });
  });
});

describe('what is asked of an S3 server', () => {
  it('has a limit where nobody answers', async () => {
    await using silent = await listening(createServer());
    const connection = { ...provided.s3, endpoint: `http://127.0.0.1:${silent.port}` };
    const client = await rawS3(connection);
    await expect(client.send(new ListBucketsCommand({}), { requestTimeout: 100 })).rejects.toMatchObject({
      name: 'TimeoutError',
    });
    client.destroy();
    expect(await listsBuckets(connection)).toBe(false);
    const over = listsBuckets(connection, AbortSignal.abort(new Error('enough')));
    expect(await over).toBe(false);
    expect(silent.met()).toBeGreaterThan(0);
    // Less than what any other request may take.
  }, 20_000);

  it('tells the server of these keys from one that takes any, and from one of another kind', async () => {
    for (const [answer, lists] of [
      [BUCKETS, true],
      [page('hi'), false],
      [page('<html><body>hi</body></html>'), false],
    ] as const) {
      await using web = await listening(saying(answer));
      const connection = { ...provided.s3, endpoint: `http://127.0.0.1:${web.port}` };
      expect(await listsBuckets(connection)).toBe(lists);
      expect(await knowsKeys(connection)).toBe(false);
    }
    expect(await listsBuckets(provided.s3)).toBe(true);
    expect(await knowsKeys(provided.s3)).toBe(true);
    expect(await knowsKeys({ ...provided.s3, secretAccessKey: 'another' })).toBe(false);
  });
});

describe('what startServers takes', () => {
  it('all servers that cannot be had are named at once', async () => {
    const error = await failure(bareMachine(), { redis: true, postgres: true, quiet: true });
    // As one of a kind that callers know: an AggregateError would be shown with its stack.
    expect(error).toMatchObject({ code: 'SERVER_UNAVAILABLE', server: 'redis' });
    expect(error.message).toMatch(
      /Redis cannot be had[^]*three ways[^]*PostgreSQL cannot be had[^]*three ways/,
    );
    expect(error.cause).toBeInstanceOf(AggregateError);
  });

  it('a variable that is half set is told first', async () => {
    const host = bareMachine({ env: { S3_ENDPOINT: 'http://h:1' } });
    const error = await failure(host, { redis: true, s3: true, quiet: true });
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(error.message).toContain('S3_ACCESS_KEY_ID');
  });

  it('an unknown server or option is refused', async () => {
    expect(await failure(bareMachine(), { mongodb: true })).toMatchObject({
      code: 'CONFIG_INVALID',
    });
    expect((await failure(bareMachine(), { redis: 'yes' })).message).toContain('redis');
  });

  it('nothing is started when nothing is asked for', async () => {
    const before = folders();
    await using servers = await startServersOn(bareMachine(), { quiet: true });
    expect(servers.env()).toEqual({});
    expect(folders()).toEqual(before);
  });
});

async function failure(host: Host, request: object): Promise<Error> {
  return startServersOn(host, { quiet: true, ...request }).then(
    () => new Error('it started'),
    (error: Error) => error,
  );
}

/** The folders of servers that were started from this file. */
function folders(): string[] {
  return readdirSync(temp).filter((name) => name.startsWith('tenantkit-servers-'));
}

function page(body: string): string {
  return `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`;
}

/** One that says the same to everybody. */
function saying(answer: string): Server {
  return createServer(
    (socket) => void socket.on('error', () => undefined).once('data', () => socket.end(answer)),
  );
}

/** `met`: how many connections it has had. */
async function listening(
  server: Server,
  port = 0,
): Promise<{ server: Server; port: number; met: () => number } & AsyncDisposable> {
  const sockets = new Set<Socket>();
  server.on('connection', (socket) => sockets.add(socket));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host: '127.0.0.1', port }, resolve);
  });
  const address = server.address();
  return {
    server,
    met: () => sockets.size,
    port: typeof address === 'object' && address !== null ? address.port : 0,
    async [Symbol.asyncDispose]() {
      const closed = new Promise((resolve) => server.close(resolve));
      for (const socket of sockets) socket.destroy();
      await closed;
    },
  };
}

/** The command line of every process. A small machine has /proc, and no `ps`; macOS the other way round. */
function commandLines(): readonly string[] {
  if (!existsSync('/proc/self/cmdline'))
    return execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).split('\n');
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map((pid) => readIfThere(`/proc/${pid}/cmdline`).replaceAll('\0', ' '));
}

function readIfThere(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return ''; // It has ended meanwhile.
  }
}

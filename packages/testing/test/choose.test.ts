import { describe, expect, it } from 'vitest';
import { choose } from '../src/servers/choose.ts';
import type { ServerDefinition } from '../src/servers/definition.ts';
import type { Host } from '../src/servers/host.ts';
import { opensearch } from '../src/servers/opensearch.ts';
import { postgres } from '../src/servers/postgres.ts';
import { redis } from '../src/servers/redis.ts';
import { s3 } from '../src/servers/s3.ts';
import { bareMachine } from './machine.ts';

const ENGINE = { url: 'unix:///run/engine.sock' };
const ALL = { redis, s3, opensearch, postgres };

const VARIABLES = {
  redis: { REDIS_URL: 'redis://h:1' },
  s3: { S3_ENDPOINT: 'http://h:1', S3_ACCESS_KEY_ID: 'k', S3_SECRET_ACCESS_KEY: 's' },
  opensearch: { OPENSEARCH_URL: 'http://h:1' },
  postgres: { DATABASE_URL: 'postgresql://h:1/d' },
};

const withEngine = { findEngine: () => Promise.resolve(ENGINE) };
const withPrograms = { findProgram: (name: string) => `/bin/${name}` };
const asDebianRoot = { isRoot: true, hasApt: true };

function chooseOn<Connection>(
  definition: ServerDefinition<Connection>,
  machine: Host,
): ReturnType<typeof choose<Connection>> {
  return choose(definition, machine, machine.findEngine);
}

describe.each(Object.keys(ALL) as (keyof typeof ALL)[])('%s', (name) => {
  const definition = ALL[name] as ServerDefinition<unknown>;
  const env = VARIABLES[name];

  it('comes from the environment first, even where there are an engine and programs', async () => {
    const machine = bareMachine({ ...withEngine, ...withPrograms, env });
    expect(await chooseOn(definition, machine)).toMatchObject({ provider: 'env' });
  });

  it('comes from a container engine that answers next', async () => {
    const machine = bareMachine({ ...withEngine, ...withPrograms });
    expect(await chooseOn(definition, machine)).toEqual({ provider: 'testcontainers', engine: ENGINE });
  });

  it('comes from the programs of this machine last', async () => {
    const native = await chooseOn(definition, bareMachine({ ...asDebianRoot }));
    expect(native).toMatchObject({ provider: 'native' });
  });

  it.each(['env', 'testcontainers', 'native'] as const)(
    'TENANTKIT_SERVERS=%s forces that one',
    async (forced) => {
      const all = { ...withEngine, ...asDebianRoot, env: { ...env, TENANTKIT_SERVERS: forced } };
      expect(await chooseOn(definition, bareMachine(all))).toMatchObject({ provider: forced });
    },
  );

  it.each([
    ['env', { ...withEngine, ...asDebianRoot, ...withPrograms }],
    ['testcontainers', { ...asDebianRoot, ...withPrograms, env }],
    ['native', { ...withEngine, env }],
  ] as const)(
    'a forced %s that cannot be had is an error, although the others could',
    async (forced, has) => {
      const machine = bareMachine({
        ...has,
        env: { ...('env' in has ? has.env : {}), TENANTKIT_SERVERS: forced },
      });
      await expect(chooseOn(definition, machine)).rejects.toMatchObject({
        code: 'SERVER_UNAVAILABLE',
        server: name,
      });
    },
  );

  it('is an error that lists the three ways where nothing has it', async () => {
    const error: Error = await chooseOn(definition, bareMachine()).then(
      () => new Error('it was chosen'),
      (error: Error) => error,
    );
    expect(error).toMatchObject({ name: 'ServerUnavailableError', code: 'SERVER_UNAVAILABLE' });
    expect(error.message).toContain('this is not Debian or Ubuntu');
    for (const way of [
      /1\. env: set /,
      /2\. testcontainers: start Docker or Podman/,
      /3\. native: install /,
    ]) {
      expect(error.message).toMatch(way);
    }
    expect(error.message).toContain(Object.keys(env)[0]);
    expect(error.message).toContain(definition.container.image);
  });

  it('is an error for an ordinary user of Debian without an engine; root has it installed', async () => {
    const user = bareMachine({ hasApt: true });
    await expect(chooseOn(definition, user)).rejects.toThrow(/(is|are) not installed, and this is not root/);
    const choice = await chooseOn(definition, bareMachine({ ...asDebianRoot }));
    // A Java that is there need not be installed.
    const packages = choice.provider === 'native' ? choice.packages : [];
    expect(packages.length).toBeGreaterThan(0);
  });
});

describe('what the environment gives', () => {
  it('TENANTKIT_SERVERS with another word is refused', async () => {
    const machine = bareMachine({ env: { TENANTKIT_SERVERS: 'docker' } });
    await expect(chooseOn(redis, machine)).rejects.toThrow(
      /Set it to env, testcontainers, native, or unset it/,
    );
  });

  it.each([
    [redis, { REDIS_URL: 'http://user:secret@h' }, 'REDIS_URL'],
    [redis, { REDIS_URL: 'user:secret' }, 'REDIS_URL'],
    [opensearch, { OPENSEARCH_URL: 'secret.host:9200' }, 'OPENSEARCH_URL'],
    [postgres, { DATABASE_URL: 'mysql://user:secret@h' }, 'DATABASE_URL'],
    [s3, { S3_ENDPOINT: 'http://h' }, 'S3_ACCESS_KEY_ID'],
    [s3, { S3_ENDPOINT: 'http://h', S3_ACCESS_KEY_ID: 'secret' }, 'S3_SECRET_ACCESS_KEY'],
    [s3, { S3_ENDPOINT: 'h', S3_ACCESS_KEY_ID: 'k', S3_SECRET_ACCESS_KEY: 'secret' }, 'S3_ENDPOINT'],
  ])('%o with %o is refused by name, without its value', async (definition, env, variable) => {
    const error: Error = await chooseOn(definition as ServerDefinition<unknown>, bareMachine({ env })).then(
      () => new Error('it was chosen'),
      (error: Error) => error,
    );
    expect(error).toMatchObject({ code: 'CONFIG_INVALID' });
    expect(error.message).toContain(variable);
    expect(error.message).not.toContain('secret');
  });

  it('there is no S3 server from binaries on a Mac', async () => {
    const mac = bareMachine({ ...withPrograms, platform: 'darwin' });
    await expect(chooseOn(s3, mac)).rejects.toThrow(/darwin has no binaries of it/);
    expect(await chooseOn(redis, mac)).toEqual({ provider: 'native', packages: [] });
  });
});

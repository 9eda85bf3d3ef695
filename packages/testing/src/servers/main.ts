import { writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import pc from 'picocolors';
import { startServers } from './start.ts';

const USAGE = `Starts Redis, S3 (Ceph RGW), OpenSearch and PostgreSQL and keeps them up until Ctrl-C.

  pnpm servers [--only redis,s3,opensearch,postgres] [--write-env FILE]

  --only NAMES      only these, separated by commas
  --write-env FILE   also write the export lines to FILE
`;

const ALL = ['redis', 's3', 'opensearch', 'postgres'] as const;

const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
  process.on(signal, () => interrupted.abort());
}

process.exitCode = await main();

async function main(): Promise<number> {
  const options = readOptions();
  if (typeof options === 'number') return options;
  const { only, envFile } = options;
  const { signal } = interrupted;
  const wanted = Object.fromEntries(only.map((name) => [name, true]));
  try {
    await using servers = await startServers({ ...wanted, signal });
    const lines = Object.entries(servers.env()).map(([name, value]) => `export ${name}=${quoted(value)}`);
    console.log(`\n${lines.join('\n')}\n`);
    if (envFile !== undefined) writeFileSync(envFile, `${lines.join('\n')}\n`, { mode: 0o600 });
    console.error(pc.dim('Up until Ctrl-C.'));
    await untilAborted(signal);
    console.error(pc.dim('Stopping.'));
    return 0;
  } catch (error) {
    if (signal.aborted) return 130;
    console.error(pc.red(error instanceof Error ? error.message : String(error)));
    return 1;
  }
}

function readOptions(): { only: readonly (typeof ALL)[number][]; envFile: string | undefined } | number {
  try {
    const { values } = parseArgs({
      options: { only: { type: 'string' }, 'write-env': { type: 'string' }, help: { type: 'boolean' } },
    });
    if (values.help === true) {
      console.log(USAGE);
      return 0;
    }
    const names = values.only?.split(',') ?? ALL;
    const only = ALL.filter((name) => names.includes(name));
    if (only.length !== names.length) throw new Error(`--only takes ${ALL.join(', ')}`);
    return { only, envFile: values['write-env'] };
  } catch (error) {
    console.error(`${(error as Error).message}\n\n${USAGE}`);
    return 2;
  }
}

function quoted(value: string): string {
  return `'${value.replaceAll("'", String.raw`'\''`)}'`;
}

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve();
    // A signal alone does not keep the program alive.
    const timer = setInterval(() => undefined, 2 ** 30);
    signal.addEventListener(
      'abort',
      () => {
        clearInterval(timer);
        resolve();
      },
      { once: true },
    );
  });
}

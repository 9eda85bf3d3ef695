import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';

/** On what it ran. */
export async function setting(): Promise<string> {
  const [cpu] = cpus();
  const sdk = JSON.parse(
    await readFile(new URL(import.meta.resolve('@aws-sdk/client-s3/package.json')), 'utf8'),
  ) as { version: string };
  return [
    new Date().toISOString().slice(0, 10),
    `${cpu?.model ?? 'unknown processor'}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    `Linux ${release()}`,
    `Node ${process.versions.node}, V8 ${process.versions.v8}`,
    `AWS SDK ${sdk.version}`,
    'Ceph RGW with one OSD in memory, on the same machine over TCP',
  ].join('; ');
}

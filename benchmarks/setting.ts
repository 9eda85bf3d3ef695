import { readFile } from 'node:fs/promises';
import { cpus, release, totalmem } from 'node:os';

/**
 * On what it ran.
 *
 * @param client - what the raw client is called, and where its package.json is
 * @param server - what it talks to
 */
export async function settingOf(
  client: { readonly name: string; readonly manifest: URL },
  server: string,
): Promise<string> {
  const [cpu] = cpus();
  const { version } = JSON.parse(await readFile(client.manifest, 'utf8')) as { version: string };
  return [
    new Date().toISOString().slice(0, 10),
    `${cpu?.model ?? 'unknown processor'}, ${cpus().length} cores, ${(totalmem() / 2 ** 30).toFixed(0)} GiB`,
    `Linux ${release()}`,
    `Node ${process.versions.node}, V8 ${process.versions.v8}`,
    `${client.name} ${version}`,
    `${server}, on the same machine over TCP`,
  ].join('; ');
}

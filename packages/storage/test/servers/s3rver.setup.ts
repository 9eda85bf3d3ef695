import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import type { TestProject } from 'vitest/node';

/**
 * Global setup: s3rver in place of the S3 server, and no other. It is hostile to names as file systems are: it
 * resolves `..`, decodes more than once, and checks no signature.
 *
 * @returns the teardown
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const child = fork(fileURLToPath(new URL('s3rver-main.ts', import.meta.url)), {
    // Its continuation tokens are made with DES.
    execArgv: ['--openssl-legacy-provider', '--disable-warning=DEP0060'],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', (message: { readonly port: number }) => resolve(message.port));
    child.once('exit', (code) => reject(new Error(`s3rver ended with code ${code}`)));
    child.once('error', reject);
  });
  const s3 = {
    endpoint: `http://127.0.0.1:${port}`,
    region: 'us-east-1',
    accessKeyId: 'S3RVER',
    secretAccessKey: 'S3RVER',
  };
  // The tests of this project ask for no other server.
  project.provide('servers', { s3 } as never);
  return async () => {
    const gone = once(child, 'exit');
    child.disconnect();
    await gone;
  };
}

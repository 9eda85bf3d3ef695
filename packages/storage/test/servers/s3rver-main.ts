import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import S3rver from 's3rver';

// The process of the server. It ends with the connection to whoever has forked it, and takes its objects with it.

const directory = mkdtempSync(join(tmpdir(), 'tenantkit-s3rver-'));
process.once('exit', () => rmSync(directory, { recursive: true, force: true }));
process.once('disconnect', () => process.exit());
// It throws when a file cannot have the name of a key, or when a part is not there; that must not be its end.
process.on('uncaughtException', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'ENAMETOOLONG' && error.code !== 'ENOENT') process.stderr.write(`${error.stack}\n`);
});

const server = new S3rver({ address: '127.0.0.1', port: 0, directory, silent: true, vhostBuckets: false });
const { port } = await server.run();
process.send?.({ port });

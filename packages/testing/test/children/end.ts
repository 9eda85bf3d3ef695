// Starts Redis, and ends without stopping it, in the way that the argument names.
import { startServers } from '@tenantkit/testing/servers';

const servers = await startServers({ redis: true, quiet: true });
process.stdout.write(`${JSON.stringify(servers.env())}\n`);
if (process.argv[2] === 'exit') process.exit(0);
if (process.argv[2] === 'throw') throw new Error('a bug of the program');
// Otherwise there is nothing left to do: a running server must not keep the program alive.

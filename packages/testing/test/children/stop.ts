// Starts Redis, says where it came from, stops it and ends by itself.
import { startServers } from '@tenantkit/testing/servers';

const servers = await startServers({ redis: true, quiet: true });
process.stdout.write(`${JSON.stringify(servers.redis)}\n`);
await servers.stop();

import { startServers } from '@tenantkit/testing/servers';

export default async function setup(): Promise<() => Promise<void>> {
  const servers = await startServers({ redis: true, quiet: true });
  process.stdout.write(`\n${JSON.stringify(servers.env())}\n`);
  return () => servers.stop();
}

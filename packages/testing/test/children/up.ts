// Starts the servers that the arguments name, says so, and goes on until it is killed. With `die-at TEXT` as the
// last two arguments it kills itself in the middle of the start, when a step that holds TEXT is reported.
import { startServers } from '@tenantkit/testing/servers';

const [names = '', dieAt] = process.argv.slice(2).join(' ').split(' die-at ');
const wanted = Object.fromEntries(names.split(' ').map((name) => [name, true]));

const servers = await startServers({
  ...wanted,
  onProgress: ({ message }) => {
    if (dieAt !== undefined && message.includes(dieAt)) process.kill(process.pid, 'SIGKILL');
  },
});
process.stdout.write(`${JSON.stringify(servers.env())}\n`);
setInterval(() => undefined, 2 ** 30);

/**
 * Tells which status a client of ioredis has now. Its events tell the same, but anybody may emit one, and whoever
 * cleans up with `removeAllListeners()` would take ours along.
 *
 * @returns what has others told as well, after `tell`; and what that returns ends it
 */
export function followStatus(
  client: object,
  tell: (status: string) => void,
): (tell: (status: string) => void) => () => void {
  const told = new Set([tell]);
  const host = client as { setStatus(status: string, argument?: unknown): void };
  const setStatus = host.setStatus.bind(host);
  host.setStatus = (status, argument) => {
    setStatus(status, argument);
    for (const each of told) each(status);
  };
  return (each) => {
    told.add(each);
    return () => void told.delete(each);
  };
}

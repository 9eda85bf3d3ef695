/**
 * Tells which status a client of ioredis has now. Its events tell the same, but anybody may emit one, and whoever
 * cleans up with `removeAllListeners()` would take ours along.
 */
export function followStatus(client: object, tell: (status: string) => void): void {
  const host = client as { setStatus(status: string, argument?: unknown): void };
  const setStatus = host.setStatus.bind(host);
  host.setStatus = (status, argument) => {
    setStatus(status, argument);
    tell(status);
  };
}

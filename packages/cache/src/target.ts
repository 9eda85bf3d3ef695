/** Where a client is connected to, as far as an error may say it. */
export interface Endpoint {
  readonly path?: string | null | undefined;
  readonly host?: string | undefined;
  readonly port?: number | undefined;
  readonly tls?: object | undefined;
}

/** The address of a server, without user and password. */
export function targetOf({ path, host, port, tls }: Endpoint): string {
  if (path !== undefined && path !== null) return `unix://localhost${path}`;
  return `${tls === undefined ? 'redis' : 'rediss'}://${host ?? 'localhost'}:${port ?? 6379}`;
}

/** The first of the nodes that a cluster was given. */
export function startOf(cluster: object): Endpoint {
  const [node] = (cluster as { startupNodes: readonly (Endpoint | string | number)[] }).startupNodes;
  if (typeof node === 'number') return { port: node };
  if (typeof node !== 'string') return node ?? {};
  const { hostname, port } = new URL(/^rediss?:/.test(node) ? node : `redis://${node}`);
  return { host: hostname, port: Number(port || 6379) };
}

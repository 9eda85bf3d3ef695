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

import type { GenericContainer, StartedTestContainer } from 'testcontainers';
import type { Host } from './host.ts';
import type { Supervisor } from './supervisor.ts';

/** The servers there are. */
export type ServerName = 'redis' | 's3' | 'opensearch' | 'postgres';

/** Where a server came from. */
export type ProviderName = 'env' | 'testcontainers' | 'native';

/** A Redis server. */
export interface RedisConnection {
  /** `redis://127.0.0.1:41379` */
  readonly url: string;
}

/** An S3 server. Buckets are addressed by path: `forcePathStyle: true`. */
export interface S3Connection {
  readonly endpoint: string;
  readonly region: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  /**
   * Another gateway of the same store, for `SelectObjectContent`: Ceph 16 refuses every POST form after it. What is
   * missing has no such trouble, or no such command.
   */
  readonly queryEndpoint?: string;
}

/** An OpenSearch server. */
export interface OpenSearchConnection {
  /** `http://127.0.0.1:9201` */
  readonly url: string;
}

/** A PostgreSQL server; the URL names a superuser and a database. */
export interface PostgresConnection {
  /** `postgresql://postgres:…@127.0.0.1:41432/postgres` */
  readonly url: string;
}

/** The connection of each server. */
export interface Connections {
  readonly redis: RedisConnection;
  readonly s3: S3Connection;
  readonly opensearch: OpenSearchConnection;
  readonly postgres: PostgresConnection;
}

/** Everything there is to know about one server. One file per server makes one of these. */
export interface ServerDefinition<Connection> {
  readonly name: ServerName;
  /** For people: `Redis`. */
  readonly title: string;
  readonly env: EnvRecipe<Connection>;
  readonly container: ContainerRecipe<Connection>;
  readonly native: NativeRecipe<Connection>;
}

/** A server that somebody else runs. */
interface EnvRecipe<Connection> {
  /** The variables, for messages: `REDIS_URL`. */
  readonly variables: string;
  /** The connection, or `undefined` when the variables are not set. @throws ConfigError when they are half set or wrong */
  read(env: NodeJS.ProcessEnv): Connection | undefined;
  write(connection: Connection): Readonly<Record<string, string>>;
  /** The URL, for messages; may hold credentials. */
  url(connection: Connection): string;
  /** Whether such a server answers there. @throws Error when it does not */
  check(connection: Connection, signal: AbortSignal): Promise<void>;
}

/** A server in a container. */
export interface ContainerRecipe<Connection> {
  /** The pinned image, and the variable that names another one. */
  readonly image: string;
  readonly imageVariable: string;
  /** Ports inside the container. */
  readonly port: number;
  /** When it is up: a line in its log so many times, or a path that answers 200. */
  readonly waitFor: { readonly log: string; readonly times: number } | { readonly path: string };
  /** Makes the image when it cannot be pulled from anywhere. */
  build?(image: string, note: Note): Promise<void>;
  configure(container: GenericContainer): GenericContainer;
  /** The connection, once the container runs. */
  connect(container: StartedTestContainer, note: Note): Promise<Connection>;
}

/** A server from binaries on this machine. */
interface NativeRecipe<Connection> {
  /** How a person installs it, as a sentence. */
  readonly advice: string;
  /** Debian packages that have to be installed first; `undefined` when this platform has no such server. */
  missing(host: Host): Promise<readonly string[] | undefined>;
  start(context: NativeContext): Promise<Connection>;
}

/** What a native start has to work with. */
export interface NativeContext {
  readonly host: Host;
  readonly supervisor: Supervisor;
  /** A folder of its own, empty. */
  readonly dir: string;
  readonly signal: AbortSignal;
  readonly note: Note;
}

/** Says what is being done now: `downloading`. */
export type Note = (message: string) => void;

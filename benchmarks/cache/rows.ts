import type { Cluster, Redis } from 'ioredis';

/**
 * What is compared: ioredis as it is; ioredis with the prefix of one tenant, which a service without tenantkit would
 * take, with one client per tenant; and ours, inside a tenant.
 */
export const KINDS = ['ioredis', 'keyPrefix', 'tenantkit'] as const;

export type Kind = (typeof KINDS)[number];

export type Client = Redis | Cluster;

/** One way of calling. */
export interface Row {
  readonly name: string;
  /** How many calls one sample makes: some 100 ms, so that the garbage of the calls is collected within it. */
  readonly calls: number;
  readonly autopipelining?: boolean;
  /** On a cluster of this many masters instead of a single server. */
  readonly masters?: 3;
  /** Makes `calls` calls. */
  readonly run: (client: Client, calls: number) => Promise<unknown>;
}

const IN_FLIGHT = 100;
const SMALL = 'x'.repeat(32);
const LARGE = 'x'.repeat(4096);
const KEYS = Array.from({ length: IN_FLIGHT }, (_, n) => `user:${n}`);
const LARGE_KEYS = KEYS.map((key) => `large:${key}`);
// Of one slot: a pipeline to a cluster goes to one node.
const TAGGED = KEYS.map((key) => `{users}:${key}`);

type Call = (client: Client, key: string) => Promise<unknown>;
type Add = (pipeline: ReturnType<Client['pipeline']>, key: string) => unknown;

const get: Call = (client, key) => client.get(key);
const set: Call = (client, key) => client.set(key, SMALL);
const addGet: Add = (pipeline, key) => pipeline.get(key);
const addSet: Add = (pipeline, key) => pipeline.set(key, SMALL);

/** The rows of the table. */
export const ROWS: readonly Row[] = [
  {
    name: 'SET 32 B, one after the other',
    calls: 2_000,
    run: async (client, calls) => {
      for (let n = 0; n < calls; n += 1) await client.set('user:1', SMALL);
    },
  },
  {
    name: 'GET 32 B, one after the other',
    calls: 2_000,
    run: async (client, calls) => {
      for (let n = 0; n < calls; n += 1) await client.get('user:1');
    },
  },
  inFlight('SET 32 B', set),
  inFlight('GET 32 B', get),
  inFlight('SET 4 KiB', (client, key) => client.set(key, LARGE), { calls: 15_000, keys: LARGE_KEYS }),
  inFlight('HSET', (client, key) => client.hset(`hash:${key}`, 'field', SMALL)),
  piped('SET 32 B', addSet),
  piped('GET 32 B', addGet),
  inFlight('SET 32 B autopipelined', set, { autopipelining: true }),
  inFlight('GET 32 B autopipelined', get, { autopipelining: true }),
  inFlight('Cluster: SET 32 B', set, { masters: 3 }),
  inFlight('Cluster: GET 32 B', get, { masters: 3 }),
  piped('Cluster: SET 32 B', addSet, { masters: 3, keys: TAGGED }),
  piped('Cluster: GET 32 B', addGet, { masters: 3, keys: TAGGED }),
  inFlight('Cluster: GET 32 B autopipelined', get, { masters: 3, autopipelining: true }),
];

type Given = Partial<Pick<Row, 'calls' | 'autopipelining' | 'masters'>> & {
  readonly keys?: readonly string[];
};

// A hundred callers, each of which waits for its reply before its next call.
function inFlight(name: string, call: Call, { keys = KEYS, ...given }: Given = {}): Row {
  return {
    name: `${name}, ${IN_FLIGHT} in flight`,
    calls: 30_000,
    ...given,
    run: (client, calls) =>
      Promise.all(
        keys.map(async (key) => {
          for (let n = 0; n < calls / IN_FLIGHT; n += 1) await call(client, key);
        }),
      ),
  };
}

function piped(name: string, add: Add, { keys = KEYS, ...given }: Given = {}): Row {
  return {
    name: `${name}, pipeline of ${IN_FLIGHT}`,
    calls: 50_000,
    ...given,
    run: async (client, calls) => {
      for (let n = 0; n < calls / IN_FLIGHT; n += 1) {
        const pipeline = client.pipeline();
        for (const key of keys) add(pipeline, key);
        await pipeline.exec();
      }
    },
  };
}

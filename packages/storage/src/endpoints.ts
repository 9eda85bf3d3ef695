import { PutObjectCommand, type S3ClientResolvedConfig } from '@aws-sdk/client-s3';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import { HttpResponse } from '@smithy/core/protocols';
import { currentTenant, refusal, refuse, runInScope } from '@tenantkit/core';
import type { Call } from './call.ts';
import { endpointOf, type Endpoint } from './guard.ts';
import type { Home, Silo } from './place.ts';
import { outside, running } from './running.ts';

type Provider = S3ClientResolvedConfig['endpointProvider'];

// Placements come from the service, one for each customer: resolved anew when there are more.
const MAX_ENDPOINTS = 10_000;

/** From how much on clocks differ, in milliseconds, as the SDK has it; and what no clock differs by. */
const SKEW = 300_000;
const MAX_OFFSET = 100 * 365 * 86_400_000;

const NO_CLOCK = refuse(
  'the clock of this client is that of all tenants',
  'Set systemClockOffset when the client is made.',
);

/** Where requests go: the server of the client, or that of the tenant who calls. */
export class Endpoints {
  readonly #config: S3ClientResolvedConfig;
  readonly #owner: object;
  readonly #known = new Map<string, Promise<Endpoint>>();
  readonly #offsets = new Map<string, number>();
  readonly #heard = new WeakMap<Call, number>();
  #date = { text: '', time: Number.NaN };

  /**
   * @param config - a copy of the resolved configuration as it is at construction
   * @param owner - whose calls they are; see {@link running}
   */
  constructor(config: S3ClientResolvedConfig, owner: object) {
    this.#config = config;
    this.#owner = owner;
    this.#offsets.set('', config.systemClockOffset);
  }

  /** What the configuration holds in place of its endpoint provider, which the SDK asks at every call. */
  readonly provider: Provider = (params, context) =>
    this.#config.endpointProvider(paramsIn(this.#silo(), params), context);

  /** The bucket of a place. */
  of(bucket: string, { silo }: Home): Promise<Endpoint> {
    const id = `${silo?.id ?? ''} ${bucket}`;
    const known = this.#known.get(id);
    if (known !== undefined) return known;
    const endpoint = this.#resolve(bucket, silo);
    if (this.#known.size >= MAX_ENDPOINTS) this.#known.clear();
    this.#known.set(id, endpoint);
    // A failure is not kept: the next call asks again.
    endpoint.catch(() => this.#known.delete(id));
    return endpoint;
  }

  /** The configuration of a client that is in a place, for what takes one. */
  configIn({ silo }: Home): S3ClientResolvedConfig {
    if (silo === undefined) return { ...this.#config };
    const { region } = silo;
    return {
      ...this.#config,
      ...(region === undefined ? {} : { region: () => Promise.resolve(region) }),
      endpointProvider: (params, context) => this.#config.endpointProvider(paramsIn(silo, params), context),
    };
  }

  /** By how much the server's clock is ahead, in milliseconds. That of one server says nothing about another. */
  get clockOffset(): number {
    return this.#offsetOf(this.#silo());
  }

  // The SDK sets it when a reply says that the clocks differ. What a middleware has made of the reply is not believed:
  // the offset is of all tenants, and one that is no time would stop them for good.
  set clockOffset(offset: number) {
    const now = running.getStore();
    const call = now?.owner === this.#owner ? now.call : undefined;
    if (call === undefined && currentTenant() !== undefined) throw refusal('storage', 'config', NO_CLOCK);
    const heard = call === undefined ? offset : this.#heard.get(call);
    if (heard === undefined || !(Math.abs(heard) <= MAX_OFFSET)) return;
    if (call !== undefined && Math.abs(heard - this.clockOffset) < SKEW) return;
    const id = this.#silo()?.id ?? '';
    if (this.#offsets.size >= MAX_ENDPOINTS && !this.#offsets.has(id)) this.#offsets.clear();
    this.#offsets.set(id, heard);
  }

  /** Notes what time a server's own reply says that it is. */
  hear(call: Call, reply: Readonly<Record<string, unknown>>): void {
    const { response } = reply;
    const date = HttpResponse.isInstance(response) ? response.headers['date'] : undefined;
    const time = typeof date === 'string' ? this.#timeOf(date) : Number.NaN;
    const heard = time - Date.now();
    // Nearly always: then there is nothing that the SDK could set.
    if (Math.abs(heard - this.#offsetOf(call.home.silo)) < SKEW) this.#heard.delete(call);
    else if (Number.isFinite(heard)) this.#heard.set(call, heard);
  }

  // For a second all replies have the same.
  #timeOf(date: string): number {
    if (date !== this.#date.text) this.#date = { text: date, time: Date.parse(date) };
    return this.#date.time;
  }

  #offsetOf(silo: Silo | undefined): number {
    return this.#offsets.get(silo?.id ?? '') ?? 0;
  }

  #silo(): Silo | undefined {
    const now = running.getStore();
    return now?.owner === this.#owner ? (now.call?.home ?? now.home)?.silo : undefined;
  }

  async #resolve(bucket: string, silo: Silo | undefined): Promise<Endpoint> {
    const provider: Provider = (params, context) =>
      this.#config.endpointProvider(paramsIn(silo, params), context);
    const { url } = await runInScope(undefined, () =>
      outside(() =>
        // Any command on an object would do: the rules of S3 look at the bucket alone.
        getEndpointFromInstructions({ Bucket: bucket, Key: 'x' }, PutObjectCommand, {
          ...this.#config,
          endpointProvider: provider,
        }),
      ),
    );
    return endpointOf(new URL(url));
  }
}

type Params = Parameters<Provider>[0];

function paramsIn(silo: Silo | undefined, params: Params): Params {
  if (silo === undefined) return params;
  const { endpoint, forcePathStyle, region = params.Region } = silo;
  return {
    ...params,
    // What only the endpoints of AWS itself have.
    Accelerate: false,
    UseDualStack: false,
    UseFIPS: false,
    UseGlobalEndpoint: false,
    Endpoint: endpoint,
    ForcePathStyle: forcePathStyle,
    Region: region,
  };
}

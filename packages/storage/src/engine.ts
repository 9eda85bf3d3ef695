import { PutObjectCommand, type S3ClientResolvedConfig } from '@aws-sdk/client-s3';
import { getEndpointFromInstructions } from '@smithy/core/endpoints';
import {
  refusal,
  refuse,
  requireScope,
  ruleFor,
  runInScope,
  type Rule,
  type Scope,
  type TenantRegistry,
} from '@tenantkit/core';
import {
  assertRequest,
  endpointOf,
  snapshot,
  type Endpoint,
  type OutgoingRequest,
  type Target,
} from './guard.ts';
import { TenantCredentials } from './credentials.ts';
import { Keeper, type Identify } from './keeper.ts';
import { admit } from './handler.ts';
import { prepareBody } from './outgoing.ts';
import { detachReply } from './reply-body.ts';
import { storageNames, type StorageNames } from './names.ts';
import type { StorageTenantOptions } from './options.ts';
import { rewriteError, rewriteOutput } from './reply.ts';
import type { Call } from './call.ts';
import { rewriteInput } from './rewrite.ts';
import { rules, type CommandPlan } from './rules.ts';
import { outside, running } from './running.ts';
import { createSealer, type Sealer } from './seal.ts';
import type { Around, Step } from './stack.ts';

/** The default of `tenant.maxExpiresIn`: 15 minutes. */
const MAX_EXPIRES_IN = 900;

/** Everything that one client needs to keep its commands inside their tenants. */
export class Engine {
  readonly names: StorageNames;
  readonly sealer: Sealer;
  readonly buckets: readonly string[];
  readonly tags: ReadonlySet<string>;
  readonly maxExpiresIn: number;
  readonly fence: TenantRegistry | undefined;
  /** Keeps the client's credentials. */
  readonly keeper: Keeper;
  readonly #headers: ReadonlySet<string>;
  readonly #config: S3ClientResolvedConfig;
  readonly #credentials: TenantCredentials | undefined;
  readonly #endpoints = new Map<string, Promise<Endpoint>>();

  /**
   * @param config - a copy of the resolved configuration as it is at construction: whoever changes the client's
   *   own later changes what it asks for, not what the last check compares with
   */
  constructor(options: StorageTenantOptions, config: S3ClientResolvedConfig) {
    this.names = storageNames(options.names);
    this.sealer = createSealer(options.sealingKeys);
    this.buckets = [...options.buckets];
    this.tags = new Set(options.tags);
    this.maxExpiresIn = options.maxExpiresIn ?? MAX_EXPIRES_IN;
    this.fence = options.fence;
    this.#headers = new Set(options.headers);
    this.#config = config;
    if (options.credentials !== undefined) this.#credentials = new TenantCredentials(options.credentials);
    this.keeper = new Keeper(
      config.signer,
      (call, request) => this.#check(call, request),
      (call) => this.#identify(call),
    );
  }

  /**
   * Decides about a command before anything of it happens: `undefined` when the boundary is lifted, else the call
   * with its physical input.
   *
   * @param row - the command whose row decides, when the operation is none itself
   * @throws MissingTenantError, TenantFencedError, OperationRefusedError, SignatureError
   */
  begin(operation: string, input: unknown, row: string = operation): Call | undefined {
    const scope: Scope = requireScope({ surface: 'storage', operation });
    if (scope.tenant === undefined) return undefined;
    const { tenant } = scope.tenant;
    this.#assertActive(tenant, operation);
    const rule: Rule<CommandPlan> | undefined = ruleFor(rules, row);
    if (rule?.kind !== 'rewrite')
      throw refusal('storage', operation, rule?.kind === 'refuse' ? rule : undefined);
    return rewriteInput(this, { operation, tenant, plan: rule.rewrite }, input);
  }

  /** What stands around every chain of middleware; see {@link guardStack}. */
  readonly around: Around =
    (resolve, last, operation) =>
    // Async, so that a refusal is a rejection (or reaches the callback); it still runs in the caller's context up
    // to the first await, and that is where the tenant is read.
    async (args) => {
      const call = this.begin(operation, args['input']);
      if (call === undefined)
        return running.run({ owner: this.keeper, call }, () =>
          resolve((given) => outside(() => last(given)))(args),
        );
      try {
        const run = resolve(this.#checked(call, last));
        const result = await running.run({ owner: this.keeper, call }, () => run({ input: call.input }));
        return { ...result, output: await this.#reply(call, result['output']) };
      } catch (error) {
        this.#credentials?.learn(call.tenant, error);
        throw rewriteError(this, call, error);
      }
    };

  /** Where the requests of a bucket go, for errors. */
  async urlOf(bucket: string): Promise<string> {
    const { endpoint } = await this.#target(bucket);
    return `${endpoint.protocol}//${endpoint.host}${endpoint.base}`;
  }

  /** @throws TenantFencedError */
  #assertActive(tenant: string, operation: string): void {
    const state = this.fence?.state(tenant);
    // Nobody signs for it any more, also when it becomes active in another place.
    if (state === 'frozen' || state === 'erased') this.#credentials?.drop(tenant);
    this.fence?.check(tenant, { surface: 'storage', operation });
  }

  #identify({ tenant, operation }: Call): ReturnType<Identify> {
    const credentials = this.#credentials;
    if (credentials === undefined) return undefined;
    return async (until) => {
      const identity = await credentials.get(tenant, operation, until);
      // That may have taken its time.
      this.#assertActive(tenant, operation);
      return identity;
    };
  }

  /**
   * Has the form of a call signed, with what the client was made with: what was changed since is not looked at, the
   * clock's correction among it, which would lengthen the form's life.
   *
   * @param until - up to when the form lives, in milliseconds since the epoch
   */
  signForm<T>(call: Call, sign: (config: S3ClientResolvedConfig) => Promise<T>, until: number): Promise<T> {
    const credentials = this.keeper.gate(this.#config.credentials);
    return this.keeper.lend(call, () => sign({ ...this.#config, credentials }), until);
  }

  #checked(call: Call, last: Step): Step {
    return async (args) => {
      const request = await this.#check(call, args['request']);
      prepareBody(request, call, this);
      admit(request, this.keeper);
      // From here on the caller's streams and signals are read: their code is given no credentials.
      return detachReply(await outside(() => last({ ...args, request })));
    };
  }

  async #reply(call: Call, output: unknown): Promise<unknown> {
    if (typeof output !== 'object' || output === null || !('presigned' in output)) {
      return rewriteOutput(this, call, output);
    }
    // The presigner ends the chain before the handler and hands its request back in place of a reply.
    const { presign } = call.plan;
    if (presign !== 'allowed') throw refusal('storage', call.operation, presign);
    const presigned = this.#snapshot(call, output.presigned);
    const limit = { maxExpiresIn: this.maxExpiresIn, now: Date.now() };
    assertRequest(presigned, call, await this.#target(call.bucket), limit);
    // The presigner was given a placeholder: what signs is given nothing but what was checked.
    return { presigned: await this.keeper.presign(call, presigned) };
  }

  async #check(call: Call, given: unknown): Promise<OutgoingRequest> {
    const request = this.#snapshot(call, given);
    assertRequest(request, call, await this.#target(call.bucket));
    return request;
  }

  #snapshot(call: Call, given: unknown): OutgoingRequest {
    const request = snapshot(given);
    if (request !== undefined) return request;
    throw refusal('storage', call.operation, NOT_A_REQUEST);
  }

  async #target(bucket: string): Promise<Target> {
    let endpoint = this.#endpoints.get(bucket);
    if (endpoint === undefined) {
      endpoint = this.#resolve(bucket);
      this.#endpoints.set(bucket, endpoint);
      // A failure is not kept: the next call asks again.
      endpoint.catch(() => this.#endpoints.delete(bucket));
    }
    return {
      names: this.names,
      buckets: this.buckets,
      tags: this.tags,
      headers: this.#headers,
      endpoint: await endpoint,
    };
  }

  async #resolve(bucket: string): Promise<Endpoint> {
    const { url } = await runInScope(undefined, () =>
      // Any command on an object would do: the rules of S3 look at the bucket alone.
      getEndpointFromInstructions({ Bucket: bucket, Key: 'x' }, PutObjectCommand, { ...this.#config }),
    );
    return endpointOf(new URL(url));
  }
}

const NOT_A_REQUEST = refuse(
  'a middleware replaced the request by something that cannot be checked',
  'Pass the request of the SDK on.',
);

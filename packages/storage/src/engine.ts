import { AsyncLocalStorage } from 'node:async_hooks';
import type { S3ClientResolvedConfig } from '@aws-sdk/client-s3';
import {
  refusal,
  refuse,
  requireScope,
  ruleFor,
  type Rule,
  type Scope,
  type TenantRegistry,
} from '@tenantkit/core';
import { TenantCredentials, assertLasting } from './credentials.ts';
import { Endpoints } from './endpoints.ts';
import { Errands, type Send } from './errand.ts';
import { failed, withEvents } from './events.ts';
import { Keeper, type Check, type Identify, type Own } from './keeper.ts';
import { admit, awaited } from './handler.ts';
import { prepareBody } from './outgoing.ts';
import { answering, detachReply, quietReply } from './reply-body.ts';
import { storageNames, type StorageNames } from './names.ts';
import type { StorageTenantOptions } from './options.ts';
import { poolOf, type Home } from './place.ts';
import { rewriteOutput } from './reply.ts';
import { Requests } from './request-check.ts';
import type { Call } from './call.ts';
import { rewriteInput } from './rewrite.ts';
import { rules, type CommandPlan } from './rules.ts';
import { isOwn } from './send.ts';
import { outside, running, type Running } from './running.ts';
import { createSealer, type Sealer } from './seal.ts';
import type { Around, Step } from './stack.ts';
import { isControl } from './control-id.ts';
import { assertPatterns } from './pattern.ts';
import { Subjects } from './subjects.ts';
import { Whereabouts } from './whereabouts.ts';

/** The default of `tenant.maxExpiresIn`: 15 minutes. */
const MAX_EXPIRES_IN = 900;

/** Everything that one client needs to keep its commands inside their tenants. */
export class Engine {
  readonly names: StorageNames;
  readonly sealer: Sealer;
  readonly buckets: readonly string[];
  readonly tags: ReadonlySet<string>;
  /** Where objects of persons are that nobody has noted. */
  readonly patterns: readonly string[];
  readonly maxExpiresIn: number;
  readonly fence: TenantRegistry | undefined;
  /** Keeps the client's credentials. */
  readonly keeper: Keeper;
  readonly endpoints: Endpoints;
  readonly subjects: Subjects;
  /** Where tenants are that have no place of their own. */
  readonly pool: Home;
  /** Whether there may be others. */
  readonly hasPlaces: boolean;
  readonly #requests: Requests;
  readonly #credentials: TenantCredentials | undefined;
  readonly #whereabouts: Whereabouts | undefined;
  readonly #visited = new AsyncLocalStorage<Home>();

  /**
   * @param config - a copy of the resolved configuration as it is at construction: whoever changes the client's
   *   own later changes what it asks for, not what the last check compares with; and what of it is the SDK's own
   * @param send - sends a command through the client's stack
   */
  constructor(
    options: StorageTenantOptions,
    { config, ...own }: { readonly config: S3ClientResolvedConfig } & Own,
    send: Send,
  ) {
    this.names = storageNames(options.names);
    this.sealer = createSealer(options.sealingKeys);
    this.buckets = [...options.buckets];
    this.tags = new Set(options.tags);
    this.patterns = [...(options.subjects || [])];
    assertPatterns(this.patterns, this.names);
    this.maxExpiresIn = options.maxExpiresIn ?? MAX_EXPIRES_IN;
    this.fence = options.fence;
    this.pool = poolOf(this.buckets);
    this.hasPlaces = options.place !== undefined;
    this.subjects = new Subjects(this, new Errands(send), options.subjects !== false);
    if (options.place !== undefined) this.#whereabouts = new Whereabouts(options.place, this);
    if (options.credentials !== undefined) this.#credentials = new TenantCredentials(options.credentials);
    this.#requests = new Requests(this, options.headers);
    const check: Check = (call, request) => this.#requests.check(call, request);
    const now = (): number => Date.now() + this.endpoints.clockOffset;
    const { signer } = config;
    this.keeper = new Keeper({ signer, ...own }, check, (call) => this.#identify(call), now);
    this.endpoints = new Endpoints(config, this.keeper);
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
    const { tenant, subject } = scope.tenant;
    if (isControl(tenant)) throw refusal('storage', operation, CONTROL);
    this.#assertActive(tenant, operation);
    const rule: Rule<CommandPlan> | undefined = ruleFor(rules, row);
    if (rule?.kind !== 'rewrite')
      throw refusal('storage', operation, rule?.kind === 'refuse' ? rule : undefined);
    const home = this.#whereabouts?.find(tenant, operation) ?? this.pool;
    return rewriteInput(this, { operation, tenant, subject, home, plan: rule.rewrite }, input);
  }

  /** What stands around every chain of middleware; see {@link guardStack}. */
  readonly around: Around =
    (resolve, last, operation, signal) =>
    // Async, so that a refusal is a rejection (or reaches the callback); it still runs in the caller's context up
    // to the first await, and that is where the tenant is read.
    async (args) => {
      const errand = this.subjects.take(args['input']);
      if (errand !== undefined) return this.#run(errand.call, resolve, errand.way?.last ?? last);
      const call = this.begin(operation, args['input']);
      if (call === undefined) {
        const lifted = await running.run({ owner: this.keeper, call, home: this.#visited.getStore() }, () =>
          resolve(async (given) => quietReply(await outside(() => last(awaited(operation, given)))))(args),
        );
        answering(lifted['output']);
        return lifted;
      }
      const own = isOwn(args) ? last : undefined;
      return this.#run(
        await this.subjects.prepare(call, { last: own, signal }),
        resolve,
        own ?? unsent(operation),
      );
    };

  async #run(call: Call, resolve: (last: Step) => Step, last: Step): ReturnType<Step> {
    try {
      const run = resolve(this.#checked(call, last));
      const result = await running.run({ owner: this.keeper, call }, () => run({ input: call.input }));
      const output = await this.#reply(call, result['output']);
      return { ...result, output: answering(withEvents(this, call, output)) };
    } catch (error) {
      this.#credentials?.learn(call.tenant, error);
      throw failed(this, call, error);
    }
  }

  /** Where the requests of a bucket go, for errors. */
  async urlOf(bucket: string, home: Home = this.pool): Promise<string> {
    const { protocol, host, base } = await this.endpoints.of(bucket, home);
    return `${protocol}//${host}${base}`;
  }

  /**
   * Where a tenant is, asked anew: for what works across tenants. It is not kept, and no fence is asked.
   *
   * @throws OperationRefusedError when nobody knows
   */
  placeOf(tenant: string, operation: string): Home {
    return this.#whereabouts?.answer(tenant, operation) ?? this.pool;
  }

  /** The places of all tenants that have called, and the pool. */
  places(): Home[] {
    const others = this.#whereabouts?.known().filter(({ id }) => id !== this.pool.id) ?? [];
    return [this.pool, ...others];
  }

  /** Runs work across tenants in a place: the commands that it sends go to its server, with its credentials. */
  visit<T>(home: Home, work: () => T): T {
    return this.#visited.run(home, work);
  }

  /** @throws TenantFencedError */
  #assertActive(tenant: string, operation: string): void {
    const state = this.fence?.state(tenant);
    // Nobody signs for it any more, also when it becomes active in another place.
    if (state === 'frozen' || state === 'erased') this.#credentials?.drop(tenant);
    this.fence?.check(tenant, { surface: 'storage', operation });
  }

  #identify({ call, home = call?.home }: Running): ReturnType<Identify> {
    // No others are sent there.
    if (home?.silo !== undefined) {
      const { identity } = home.silo;
      return async (until) => {
        assertLasting(identity, call?.operation ?? 'credentials', until);
        return identity;
      };
    }
    const credentials = this.#credentials;
    if (credentials === undefined || call === undefined) return undefined;
    const { tenant, operation } = call;
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
    const config = this.endpoints.configIn(call.home);
    const credentials = this.keeper.gate(config.credentials);
    return this.keeper.lend(call, () => sign({ ...config, credentials }), until);
  }

  #checked(call: Call, last: Step): Step {
    return async (args) => {
      // Each attempt: it may have waited for long.
      this.#assertActive(call.tenant, call.operation);
      this.#whereabouts?.assertStill(call.home, call.tenant, call.operation);
      const request = await this.#requests.check(call, args['request']);
      prepareBody(request, call);
      admit(request, call, this.keeper);
      // From here on the caller's streams and signals are read: their code is given no credentials.
      const reply = await outside(() => last({ ...args, request }));
      this.endpoints.hear(call, reply);
      return detachReply(reply, call);
    };
  }

  async #reply(call: Call, output: unknown): Promise<unknown> {
    if (call.errand !== undefined) return output;
    if (typeof output !== 'object' || output === null || !('presigned' in output)) {
      return rewriteOutput(this, call, output);
    }
    // The presigner ends the chain before the handler and hands its request back in place of a reply.
    const { presign } = call.plan;
    if (presign !== 'allowed') throw refusal('storage', call.operation, presign);
    const presigned = await this.#requests.checkPresigned(call, output.presigned);
    // The presigner was given a placeholder: what signs is given nothing but what was checked.
    return { presigned: await this.keeper.presign(call, presigned) };
  }
}

/**
 * Where the chain of a command ends that was not made by this package's `send`: its last step came with the command,
 * and could change what was checked. The presigner's ends before it.
 */
function unsent(operation: string): Step {
  return () => Promise.reject(refusal('storage', operation, NOT_SENT));
}

const NOT_SENT = refuse(
  'the command was not sent by the client’s own send, and may bring code of its own',
  'Send it with the client: client.send(command).',
);
const CONTROL = refuse(
  'its tenant has the id of a throw-away one of a verification, whose objects anybody’s erasure removes',
  'Give the tenant another id.',
);

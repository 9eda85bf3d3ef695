import type { S3ClientResolvedConfig } from '@aws-sdk/client-s3';
import { currentScope, refusal, refuse, runInScope } from '@tenantkit/core';
import { absentIn, signAbsent } from './absent.ts';
import { SIGNATURE } from './allowed.ts';
import { viewOf } from './body.ts';
import type { OutgoingRequest } from './guard.ts';
import type { TenantIdentity } from './identity.ts';
import { timestamp } from './life.ts';
import type { Call } from './call.ts';
import { making, outside, providing, running, type Running } from './running.ts';

type Credentials = S3ClientResolvedConfig['credentials'];
type Signer = S3ClientResolvedConfig['signer'];
type RequestSigner = Awaited<ReturnType<Signer>>;

/** Checks a request of a call and returns the copy that was checked. */
export type Check = (call: Call, request: unknown) => Promise<OutgoingRequest>;

/**
 * What asks for the credentials of a call's tenant, or of its place; `undefined` where they are the client's. `until`
 * is when that which is signed ends, in milliseconds since the epoch.
 */
export type Identify = (now: Running) => ((until?: number) => Promise<TenantIdentity>) | undefined;

/** Where nothing of the service's own runs, in what the SDK does for each request. */
export interface Own {
  readonly hasOwnSigner: boolean;
  /** They are given as they are, by no provider. */
  readonly hasFixedCredentials: boolean;
}

/**
 * Keeps the credentials of one client and of its tenants: with them alone, a request to any key could be signed past the guard
 * (`createPresignedPost` and `S3RequestPresigner` take a client's configuration, not its middleware). They are
 * given to the SDK's own signer while it signs a copy of a request that was checked, and across tenants; the
 * middleware of a call, which may be a caller's, gets a placeholder that signs nothing.
 */
export class Keeper {
  readonly #signer: Signer;
  readonly #check: Check;
  readonly #identify: Identify;
  readonly #now: () => number;
  readonly #hasFixedCredentials: boolean;
  readonly #made: Map<string, ReturnType<Signer>> | undefined;
  /** What the gate gives to whoever asks now. */
  #credentials: () => ReturnType<Credentials> = () => {
    throw refusal('storage', 'credentials', NO_CREDENTIALS);
  };
  /** Where the credentials came from when they were last asked for. */
  #source: object | undefined;

  /**
   * @param signer - of the configuration
   * @param now - the time of the server that is called, in milliseconds since the epoch
   */
  constructor(
    { signer, hasOwnSigner, hasFixedCredentials }: { readonly signer: Signer } & Own,
    check: Check,
    identify: Identify,
    now: () => number,
  ) {
    this.#made = hasOwnSigner ? new Map() : undefined;
    this.#hasFixedCredentials = hasFixedCredentials;
    this.#signer = signer;
    this.#check = check;
    this.#identify = identify;
    this.#now = now;
  }

  /** What the configuration holds in place of its credential provider. */
  gate(provider: Credentials): Credentials {
    const gated: Credentials = async (options) => {
      const now = running.getStore();
      const own = now?.owner === this;
      if (!own && currentScope()?.bypass === undefined)
        throw refusal('storage', 'credentials', NO_CREDENTIALS);
      const call = own ? now.call : undefined;
      const isReal = call === undefined || now?.signing === true;
      const identify = own ? this.#identify(now) : undefined;
      if (identify !== undefined) return { ...(isReal ? await identify(now?.until) : PLACEHOLDER) };
      if (!isReal && this.#source !== undefined) return placeholderOf(this.#source);
      // Outside of any tenant: the provider may call other services, and what it answers serves all tenants.
      // Those of the SDK take the client's request handler for it.
      const real = this.#hasFixedCredentials
        ? await provider(options)
        : await providing.run(this, () => runInScope(undefined, () => outside(() => provider(options))));
      this.#source = { ...('$source' in real ? Object(real.$source) : {}) } as object;
      return isReal ? real : placeholderOf(this.#source);
    };
    this.#credentials = () => gated();
    // The marks of a provider that the SDK takes as it is: it must not keep the answer in front of the gate.
    return Object.assign(gated, { memoized: true, configBound: true, attributed: true });
  }

  /** What the configuration holds in place of its signer: it signs what the current call may send. */
  readonly signer: Signer = async (scheme) => {
    // Data alone: the SDK calls what looks like a provider, and would do so while the credentials are at hand.
    const inner = await this.#find(plainScheme(scheme) as typeof scheme);
    return { sign: (request, options) => this.#sign(inner, request, options) };
  };

  // The SDK makes one for each request, with a copy of the whole configuration. Its own depends on nothing else than
  // its region and service, keeps nothing of what it signs, and asks for the credentials each time.
  async #find(scheme: Parameters<Signer>[0]): ReturnType<Signer> {
    const name = this.#made === undefined ? undefined : nameOf(scheme);
    if (name === undefined) return this.#make(scheme);
    const known = this.#made?.get(name);
    if (known !== undefined) return known;
    const signer = this.#make(scheme);
    if ((this.#made?.size ?? 0) >= MAX_SIGNERS) this.#made?.clear();
    this.#made?.set(name, signer);
    // A failure is not kept: the next call asks again.
    signer.catch(() => this.#made?.delete(name));
    return signer;
  }

  // The SDK keeps region and service in the configuration while it makes one, and at no other time.
  #make(scheme: Parameters<Signer>[0]): ReturnType<Signer> {
    return making.run(this, () => this.#signer(scheme));
  }

  /**
   * Signs the URL of a presigner anew: it has used the placeholder.
   *
   * @param request - of a URL that was checked
   */
  async presign(call: Call, request: OutgoingRequest): Promise<unknown> {
    const { operation } = call;
    const asked = request.query as Readonly<Record<string, string>>;
    const [, , region, service] = (asked['X-Amz-Credential'] ?? '').split('/');
    const signingDate = new Date(timestamp(asked['X-Amz-Date']));
    if (asked['X-Amz-Algorithm'] !== 'AWS4-HMAC-SHA256' || region === undefined || service === undefined) {
      throw refusal('storage', operation, NO_PRESIGNER);
    }
    const inner = await this.#make({
      name: 'sigv4',
      signingRegion: region,
      signingName: service,
    } as Parameters<Signer>[0]);
    if (!canPresign(inner)) throw refusal('storage', operation, NO_PRESIGNER);
    const signed = new Set((asked['X-Amz-SignedHeaders'] ?? '').split(';'));
    // Without it the URL would be good for every host that has these keys.
    if (!signed.has('host')) throw refusal('storage', operation, NO_PRESIGNER);
    const names = Object.keys(request.headers).map((name) => name.toLowerCase());
    const query = Object.fromEntries(Object.entries(asked).filter(([name]) => !SIGNATURE.has(name)));
    const digest = asked['X-Amz-Content-Sha256'];
    const headers = {
      ...request.headers,
      ...(digest === undefined ? {} : { 'X-Amz-Content-Sha256': digest }),
    };
    const unsigned = Object.assign(Object.create(Object.getPrototypeOf(request) as object), request, {
      query,
      headers,
      body: signable(request.body),
    }) as unknown;
    const options = {
      expiresIn: Number(asked['X-Amz-Expires']),
      signingDate,
      signingRegion: region,
      signingService: service,
      signableHeaders: signed,
      unsignableHeaders: new Set(names.filter((name) => !signed.has(name))),
      unhoistableHeaders: new Set(names),
    };
    // A URL that outlives its credentials would end before its time.
    const until = signingDate.getTime() + options.expiresIn * 1000;
    const absent = absentIn(request);
    return this.lend(
      call,
      async () => {
        const url = await inner.presign(unsigned, options);
        if (absent.length === 0) return url;
        const { secretAccessKey: secret } = await this.#credentials();
        return signAbsent(url as OutgoingRequest, absent, { operation: call.operation, secret });
      },
      until,
    );
  }

  /**
   * Runs code of the SDK's own that signs for a call. It is given the credentials: nothing of a caller's may run in it.
   *
   * @param until - up to when what is signed lives, in milliseconds since the epoch
   */
  lend<T>(call: Call, sign: () => Promise<T>, until: number): Promise<T> {
    return running.run({ owner: this, call, signing: true, until }, sign);
  }

  async #sign(inner: RequestSigner, ...[given, options]: Parameters<RequestSigner['sign']>): Promise<Signed> {
    const now = running.getStore();
    // Outside of a call it is the gate that decides.
    if (now?.owner !== this || now.call === undefined) return inner.sign(given, options);
    const { call } = now;
    const request = await this.#check(call, given);
    const { body } = request;
    request.body = signable(body);
    const { signingDate, signingRegion, signingService } = options ?? {};
    const date = new Date(Number(signingDate ?? this.#now()));
    // A request for another day would outlive whatever ends the tenant's rights until then.
    if (!(Math.abs(date.getTime() - this.#now()) <= MAX_SKEW))
      throw refusal('storage', call.operation, ANOTHER_TIME);
    // The types are the SDK's promise; a middleware can have put an object with code in their place.
    /* oxlint-disable typescript/no-unnecessary-type-conversion */
    const plain = {
      signingDate: date,
      ...(signingRegion === undefined ? {} : { signingRegion: String(signingRegion) }),
      ...(signingService === undefined ? {} : { signingService: String(signingService) }),
    };
    /* oxlint-enable typescript/no-unnecessary-type-conversion */
    const signed = await running.run({ ...now, signing: true }, () =>
      inner.sign(request as typeof given, plain),
    );
    return Object.assign(signed, { body });
  }
}

/** Those of AWS have a region each. */
const MAX_SIGNERS = 100;

/** What a signer is known by: all that its scheme says. */
function nameOf(scheme: object | undefined): string | undefined {
  const { signingName, signingRegion } = Object(scheme) as Readonly<Record<string, unknown>>;
  // Else the SDK asks for what is missing, which may be another one the next time.
  if (typeof signingName !== 'string' || typeof signingRegion !== 'string') return undefined;
  return JSON.stringify(scheme);
}

/** What JSON makes of a scheme, which it is asked for where there is more than texts and switches. */
function plainScheme(given: object | null | undefined): object {
  const scheme = (given ?? {}) as Readonly<Record<string, unknown>>;
  const plain: Record<string, unknown> = {};
  for (const name of Object.keys(scheme)) {
    const value = scheme[name];
    if (typeof value !== 'string' && typeof value !== 'boolean')
      return JSON.parse(JSON.stringify(scheme)) as object;
    plain[name] = value;
  }
  return plain;
}

/**
 * What the signer is shown in place of a body: it reads bytes, and asks everything else what it is. An object of a
 * caller's could answer with code, while the credentials are at hand; of a stream nothing is signed.
 */
function signable(body: unknown): unknown {
  return body === undefined || body === null || typeof body === 'string' ? body : (viewOf(body) ?? STREAM);
}

const STREAM: object = Object.freeze(Object.create(null) as object);

type Signed = Awaited<ReturnType<RequestSigner['sign']>>;

interface Presigner {
  presign: (request: unknown, options: Readonly<Record<string, unknown>>) => Promise<unknown>;
}

function canPresign(signer: object): signer is Presigner {
  return 'presign' in signer && typeof signer.presign === 'function';
}

const PLACEHOLDER = { accessKeyId: 'held-by-tenantkit', secretAccessKey: 'held-by-tenantkit' } as const;

/** With where the real ones come from, which the SDK counts in its user agent. */
function placeholderOf(source: object): Awaited<ReturnType<Credentials>> {
  return { ...PLACEHOLDER, ...(Object.keys(source).length === 0 ? {} : { $source: { ...source } }) };
}

const NO_CREDENTIALS = refuse(
  'the credentials of this client could sign a request to any key, so they are given to its own commands only',
  'Presign with getSignedUrl and createPresignedPost of @tenantkit/storage/presign; other services need a credential provider of their own.',
);
const ANOTHER_TIME = refuse(
  'it would be signed for another time than now',
  'Leave the date of the signature to the SDK; a URL for later is made with getSignedUrl.',
);
/** What servers take, in milliseconds. */
const MAX_SKEW = 15 * 60_000;

const NO_PRESIGNER = refuse(
  'the signer of this client cannot presign with SigV4',
  'Leave the client options signer and signerConstructor to the SDK.',
);

import { StoreUnreachableError, isTenantkitError, refusal, refuse, runInScope } from '@tenantkit/core';
import { readIdentity, type TenantIdentity } from './identity.ts';
import { refusedBecause } from './refused.ts';
import { outside } from './running.ts';

/** Gives the credentials of a tenant: `assumeTenantRole({ … })` of `@tenantkit/storage/sts`, or one's own. */
export type TenantCredentialProvider = (tenant: string) => Promise<TenantIdentity>;

// Ids come from requests: a service with more tenants than this asks more often.
const MAX_TENANTS = 10_000;
// A request under way must arrive while its credentials still hold.
const LAST = 10_000;
/** What the life of a presigned URL and that of its credentials must differ by, at least. */
const MARGIN = 5_000;
// Credentials without an end may be replaced by others nevertheless.
const ENDLESS = 900_000;
// After a renewal has failed, or the server has refused what it was given a moment ago.
const PAUSE = 10_000;
const TIMEOUT = 30_000;

const FAILED = refuse(
  'there are no credentials of the tenant',
  'The function tenant.credentials has failed, or its answer is no identity; the cause of this error says why.',
  'credentials',
);
const ENDED = refuse(
  'the credentials of the tenant have ended',
  'Let tenant.credentials, or tenant.place for a silo, answer an identity that is still valid; look at the clock of this machine, too.',
  'credentials',
);
const SHORT = refuse(
  'the URL would live longer than the credentials of the tenant, with which it is signed',
  'Ask for a shorter expiresIn, or let tenant.credentials (tenant.place for a silo) answer an identity that lives longer, such as with more durationSeconds.',
  'value',
);

// With these a server says that it does not know the credentials, or not any more.
const UNKNOWN: ReadonlySet<string> = new Set(['ExpiredToken', 'InvalidAccessKeyId', 'InvalidToken']);

interface Entry {
  readonly identity: TenantIdentity;
  /** Milliseconds since the epoch, like all times here. */
  readonly askedAt: number;
  /** `Infinity` for credentials without an end. */
  readonly endsAt: number;
  /** From when on they are renewed while they are in use. */
  renewAt: number;
}

/** Refuses to sign for a tenant with credentials that end before what is signed. */
export function assertLasting({ expiration }: TenantIdentity, operation: string, until = 0): void {
  const endsAt = expiration?.getTime() ?? Infinity;
  if (endsAt <= Date.now()) throw refusal('storage', operation, ENDED);
  if (endsAt < until + MARGIN) throw refusal('storage', operation, SHORT);
}

/** The credentials of tenants, each asked for once and renewed before they end. Never those of another tenant. */
export class TenantCredentials {
  readonly #ask: TenantCredentialProvider;
  readonly #entries = new Map<string, Entry>();
  readonly #asking = new Map<string, Promise<Entry>>();

  constructor(ask: TenantCredentialProvider) {
    this.#ask = ask;
  }

  /**
   * @param until - when what is signed ends, in milliseconds since the epoch; credentials end after it
   * @throws OperationRefusedError when there are none that hold, or none that hold so long
   * @throws StoreUnreachableError when the provider does not answer in time, or says so
   */
  async get(tenant: string, operation: string, until = 0): Promise<TenantIdentity> {
    const known = this.#entries.get(tenant);
    const now = Date.now();
    if (known !== undefined && known.endsAt - LAST > now) {
      // As long as it lives from its first moment: another one would not do either.
      if (until + MARGIN > now + known.endsAt - known.askedAt) throw refusal('storage', operation, SHORT);
      if (known.endsAt >= until + MARGIN) {
        this.#use(tenant, known);
        if (now >= known.renewAt) this.#renew(tenant, known, operation);
        return known.identity;
      }
    }
    const { identity } = await this.#single(tenant, operation);
    assertLasting(identity, operation, until);
    return identity;
  }

  /** Forgets a tenant; an answer that is on its way is not kept. */
  drop(tenant: string): void {
    this.#entries.delete(tenant);
    this.#asking.delete(tenant);
  }

  /** Forgets the credentials of a call whose error says that the server does not know them. */
  learn(tenant: string, error: unknown): void {
    if (!(error instanceof Error) || !UNKNOWN.has(error.name)) return;
    const known = this.#entries.get(tenant);
    if (known !== undefined && Date.now() - known.askedAt > PAUSE) this.#entries.delete(tenant);
  }

  // The one that was used longest ago stands first.
  #use(tenant: string, entry: Entry): void {
    this.#entries.delete(tenant);
    this.#entries.set(tenant, entry);
  }

  #renew(tenant: string, known: Entry, operation: string): void {
    known.renewAt = Date.now() + PAUSE;
    // What is wrong is told to the call that has none left.
    this.#single(tenant, operation).catch(() => undefined);
  }

  #single(tenant: string, operation: string): Promise<Entry> {
    const under = this.#asking.get(tenant);
    if (under !== undefined) return under;
    const asking = this.#fetch(tenant, operation).then(
      (entry) => {
        // Dropped in the meantime: whoever waits gets it, nobody after them.
        if (this.#asking.get(tenant) === asking) this.#keep(tenant, entry);
        return entry;
      },
      (error: unknown) => {
        if (this.#asking.get(tenant) === asking) this.#asking.delete(tenant);
        throw error;
      },
    );
    this.#asking.set(tenant, asking);
    return asking;
  }

  #keep(tenant: string, entry: Entry): void {
    this.#asking.delete(tenant);
    this.#use(tenant, entry);
    const [oldest] = this.#entries.keys();
    if (this.#entries.size > MAX_TENANTS && oldest !== undefined) this.#entries.delete(oldest);
  }

  async #fetch(tenant: string, operation: string): Promise<Entry> {
    const askedAt = Date.now();
    try {
      // In no tenant and in no call: it may use clients of this package, and is given nobody's credentials.
      const identity = await runInScope(undefined, () => outside(() => inTime(() => this.#ask(tenant))));
      const plain = readIdentity(identity);
      const endsAt = plain.expiration?.getTime() ?? Infinity;
      const renewAt = endsAt === Infinity ? askedAt + ENDLESS : endsAt - (endsAt - askedAt) / 4;
      return { identity: plain, askedAt, endsAt, renewAt };
    } catch (cause) {
      if (isTenantkitError(cause)) throw cause;
      throw refusedBecause(operation, FAILED, cause);
    }
  }
}

async function inTime<T>(ask: () => Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_resolve, reject) => {
    timer = setTimeout(
      () =>
        reject(
          new StoreUnreachableError({
            surface: 'storage',
            operation: 'credentials',
            target: 'tenant.credentials',
          }),
        ),
      TIMEOUT,
    ).unref();
  });
  try {
    return await Promise.race([ask(), late]);
  } finally {
    clearTimeout(timer);
  }
}

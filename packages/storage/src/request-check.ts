import { refusal, refuse } from '@tenantkit/core';
import type { Call, Realm } from './call.ts';
import { assertDocument } from './document.ts';
import type { Endpoints } from './endpoints.ts';
import { assertRequest, snapshot, type OutgoingRequest, type Target } from './guard.ts';

/** What the requests of a client are compared with. */
export interface Bounds extends Realm {
  readonly endpoints: Endpoints;
  /** The longest life of a presigned URL, in seconds. */
  readonly maxExpiresIn: number;
}

/** Checks the requests of one client. */
export class Requests {
  readonly #bounds: Bounds;
  readonly #headers: ReadonlySet<string>;

  /** @param headers - which may leave besides those that are known */
  constructor(bounds: Bounds, headers: readonly string[] | undefined) {
    this.#bounds = bounds;
    this.#headers = new Set(headers);
  }

  /**
   * @returns the copy that was checked
   * @throws OperationRefusedError, CrossTenantError
   */
  async check(call: Call, given: unknown): Promise<OutgoingRequest> {
    const request = copied(call, given);
    assertRequest(request, call, await this.#target(call));
    assertDocument(request, call, this.#bounds);
    return request;
  }

  /** As {@link check}, for one that is going to be a presigned URL: it has no document. */
  async checkPresigned(call: Call, given: unknown): Promise<OutgoingRequest> {
    const request = copied(call, given);
    const limit = { maxExpiresIn: this.#bounds.maxExpiresIn, now: Date.now() };
    assertRequest(request, call, await this.#target(call), limit);
    return request;
  }

  async #target({ bucket, home }: Call): Promise<Target> {
    const { names, tags, endpoints } = this.#bounds;
    return {
      names,
      buckets: home.physical,
      tags,
      headers: this.#headers,
      endpoint: await endpoints.of(bucket, home),
    };
  }
}

function copied(call: Call, given: unknown): OutgoingRequest {
  const request = snapshot(given);
  if (request !== undefined) return request;
  throw refusal('storage', call.operation, NOT_A_REQUEST);
}

const NOT_A_REQUEST = refuse(
  'a middleware replaced the request by something that cannot be checked',
  'Pass the request of the SDK on.',
);

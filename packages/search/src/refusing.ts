import { refusal, refuse, type OperationRefusedError } from '@tenantkit/core';

/** Makes the error of a refused request of one operation; the caller throws it. */
export type Refuse = (why: string, instead: string) => OperationRefusedError;

/** The {@link Refuse} of an operation. Each error made is one `tenantkit:refused` event. */
export function refusing(operation: string): Refuse {
  return (why, instead) => refusal('search', operation, refuse(why, instead));
}

/** A key for a message. Keys can come from outside: what is not a plain word is not repeated. */
export function shown(key: string): string {
  return /^\w{1,40}$/.test(key) ? key : 'a key that is no plain word';
}

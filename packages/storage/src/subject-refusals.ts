import { refusal, refuse } from '@tenantkit/core';
import type { Call } from './call.ts';

/**
 * A call as it is where nothing is written about persons.
 *
 * @throws OperationRefusedError for one that would be
 */
export function ofNobody(call: Call): Call {
  const writes = call.plan.about === 'object' || call.plan.about === 'copy';
  if (writes && call.subjects.length > 0) throw refusal('storage', call.operation, NOT_KEPT);
  return call;
}

const NOT_KEPT = refuse(
  'it would write about a person, and tenant.subjects is false: it would never be found when the person is erased',
  'Write it outside of a subject (withoutSubject), or leave the client option tenant.subjects out.',
);
export const TOO_MANY = refuse(
  'the copy would be about more persons than an object can name',
  'Copy it outside of a subject, or keep the data of each person in an object of its own.',
);
export const ANOTHER_PERSON = refuse(
  'the source is about a person that the upload is not about',
  'Make the upload in the context of that person, and use the UploadId of CreateMultipartUpload as it was.',
);
export const NO_ETAG = refuse(
  'the server does not say which object it would copy, so nobody knows whom it is about',
  'Read the object and write it again.',
);
export const UNREADABLE = refuse(
  'the source has metadata that cannot be read as it is, so it cannot be copied together with a person',
  "Give the metadata of the copy: MetadataDirective: 'REPLACE'.",
);

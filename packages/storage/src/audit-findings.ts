import type { Finding } from '@tenantkit/core';
import { shown } from './grammar.ts';

/** What may be found. */
export const FINDINGS = {
  outside_every_tenant: {
    severity: 'high',
    message: 'An object belongs to no tenant: no tenant can reach it, and no erasure finds it.',
    hint: "Find out who writes past @tenantkit/storage; move it under its tenant's prefix, or to another bucket. Where it is another program, name its prefix in the option known.",
  },
  unknown_reserved_name: {
    severity: 'medium',
    message: 'A key begins with tk!, which is reserved, and is none that this version writes.',
    hint: 'Remove it, unless a newer version of tenantkit shares this bucket.',
  },
  erased_tenant: {
    severity: 'critical',
    message: 'An object belongs to a tenant that was erased.',
    hint: 'Find out who still writes for that tenant, then run its erasure again.',
  },
  unknown_tenant: {
    severity: 'medium',
    message: 'Objects belong to a tenant that nobody knows.',
    hint: 'Look whether its id was mistyped, or whether the objects are no tenant’s at all: then move them. One that is gone is erased under this id.',
  },
  refused_name: {
    severity: 'high',
    message: 'An object has a key that no tenant can address.',
    hint: 'Copy it to a key of the accepted form with the raw client, then delete it: a server that resolves such keys may hand it to another tenant.',
  },
  unnameable_key: {
    severity: 'high',
    message:
      'A key is of bytes that are no UTF-8, shown percent-encoded: no request can name it, and no erasure removes it.',
    hint: 'Remove it with a tool of the server (radosgw-admin object rm on Ceph), and see who may post forms past this client.',
  },
  doubled_prefix: {
    severity: 'medium',
    message: 'Objects have the prefix of their tenant twice.',
    hint: 'Take the prefix out of the code that builds the key: this package puts it there. What was written so is found under the doubled key only; move it.',
  },
  control_left: {
    severity: 'low',
    message: 'An object was planted by a verification that did not end.',
    hint: 'Run any verification or erasure of this bucket: it removes what is older than ten minutes.',
  },
  old_upload: {
    severity: 'low',
    message: 'An upload was begun long ago and never finished: its parts are stored and billed.',
    hint: 'Abort it, or give the bucket a lifecycle rule with AbortIncompleteMultipartUpload.',
  },
  public_acl: {
    severity: 'critical',
    message: 'The ACL of the bucket opens it to everybody.',
    hint: 'Remove the grant, and set PublicAccessBlock and BucketOwnerEnforced, with which ACLs mean nothing.',
  },
  foreign_grant: {
    severity: 'high',
    message: 'The ACL of the bucket gives rights to somebody else than its owner.',
    hint: 'Remove the grant, or name the grantee in the option principals if it may work for all tenants.',
  },
  public_object_acl: {
    severity: 'critical',
    message: 'The ACL of an object opens it to everybody.',
    hint: 'Remove the grant; for whoever may see the object, make a presigned URL. PublicAccessBlock with IgnorePublicAcls closes all of them.',
  },
  foreign_object_grant: {
    severity: 'high',
    message: 'The ACL of an object gives rights to somebody else than the owner of the bucket.',
    hint: 'Remove the grant, or name the grantee in the option principals if it may work for all tenants.',
  },
  public_policy: {
    severity: 'critical',
    message: 'The policy of the bucket allows something to everybody.',
    hint: 'Name principals, or remove the statement; for downloads without credentials make presigned URLs.',
  },
  public_policy_conditional: {
    severity: 'medium',
    message:
      'The policy of the bucket allows something to everybody that meets a condition, beyond one tenant.',
    hint: 'Look whether the condition (a network, an organisation) leads to your own service only; else name principals.',
  },
  policy_beyond_tenants: {
    severity: 'high',
    message:
      'The policy of the bucket gives a principal more than one tenant’s objects: its prefix does not end with a tenant and a slash, or there is none.',
    hint: 'Write the resource as arn:aws:s3:::<bucket>/<prefix of the tenant>/* and confine listings with s3:prefix, as storageBackstop does; or name the principal in the option principals if it may work for all tenants.',
  },
  called_public: {
    severity: 'info',
    message:
      'The server calls the bucket public, and nothing that is known of its policy and its ACL says why.',
    hint: 'Look at them yourself. Ceph says so of policies that name principals, too.',
  },
  unreadable_policy: {
    severity: 'medium',
    message: 'The policy of the bucket is not of the form that is known, so nobody has looked at it.',
    hint: 'Look at it yourself: aws s3api get-bucket-policy.',
  },
  website: {
    severity: 'high',
    message: 'The bucket is served as a website: whoever can read an object there needs no signature.',
    hint: 'Remove the configuration, or serve the website from a bucket of its own.',
  },
  cors_any_origin: {
    severity: 'low',
    message: 'Any web page may use presigned URLs of the bucket (CORS with the origin *).',
    hint: 'Name the origins of your own pages.',
  },
  replicated_to_account: {
    severity: 'high',
    message: 'Objects of all tenants are replicated to another account.',
    hint: 'Look whether that account may have them. Erasures have to be run there as well.',
  },
  events_sent: {
    severity: 'medium',
    message: 'Events with the keys and metadata of all tenants’ objects are sent elsewhere.',
    hint: 'Look who has set this up: on Ceph a session of a tenant can, where the user that opens it owns the bucket. Remove it, or name the target in the option principals if it may hear of all tenants.',
  },
  replicated: {
    severity: 'info',
    message: 'Objects are replicated to another bucket.',
    hint: 'Audit that bucket, too, and erase tenants there: deletions of versions are not replicated.',
  },
  not_examined: {
    severity: 'info',
    message: 'Something could not be looked at.',
    hint: 'Give the credentials of this client the right to read it; where the server has no such thing, there is nothing to do.',
  },
} as const satisfies Record<string, Pick<Finding, 'severity' | 'message' | 'hint'>>;

/** The codes of findings. */
export type Code = keyof typeof FINDINGS;

/** A finding without its text. */
export interface Found {
  readonly code: Code;
  /** The physical name, or what else was looked at. */
  readonly name: string;
  /** What is added to the message. */
  readonly more?: string | undefined;
}

/** With its text, and a name that is safe to be shown on a terminal. */
export function findingOf(store: string, { code, name, more }: Found): Finding {
  const { message, ...rest } = FINDINGS[code];
  return {
    store,
    code,
    name: shown(name),
    ...rest,
    message: more === undefined ? message : `${message} ${shown(more)}`,
  };
}

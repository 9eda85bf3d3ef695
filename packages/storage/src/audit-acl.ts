import { GetObjectAclCommand, type Grant } from '@aws-sdk/client-s3';
import pMap from 'p-map';
import type { Found } from './audit-findings.ts';
import type { Entry } from './listing.ts';
import type { Remote } from './remote.ts';
import { UNSEEN, answerOf } from './settings.ts';

/** How ACLs are judged. */
export interface AclJudging {
  readonly remote: Remote;
  /** The canonical id of the bucket's owner, where it is known. */
  readonly owner: string | undefined;
  /** Ids that may work for all tenants. */
  readonly principals: ReadonlySet<string>;
  /** The server gives no effect to grants to everybody. */
  readonly ignoresPublic: boolean;
}

const PUBLIC: ReadonlySet<string> = new Set([
  'http://acs.amazonaws.com/groups/global/AllUsers',
  'http://acs.amazonaws.com/groups/global/AuthenticatedUsers',
]);

/** How many ACLs are asked for at once. */
const PARALLEL = 16;

/** What grants do: `public`, `foreign` or both. */
export function judgeGrants(
  grants: readonly Grant[] = [],
  { owner, principals, ignoresPublic }: Omit<AclJudging, 'remote'>,
): ReadonlySet<'public' | 'foreign'> {
  const found = new Set<'public' | 'foreign'>();
  for (const { Grantee: { ID, URI, EmailAddress } = {} } of grants) {
    if (URI !== undefined && PUBLIC.has(URI)) {
      if (!ignoresPublic) found.add('public');
      continue;
    }
    const who = ID ?? URI ?? EmailAddress ?? '';
    // Whose the bucket is may be unknown, which is said: then nobody is a stranger.
    if (owner !== undefined && who !== owner && !principals.has(who)) found.add('foreign');
  }
  return found;
}

/** Asks for the ACLs of objects, a bounded number of them in all. */
export class ObjectAcls {
  readonly #judging: AclJudging;
  #left: number;
  #passed = 0;
  #unseen: string | undefined;

  /** @param limit - how many are asked for, each with a request */
  constructor(judging: AclJudging, limit: number) {
    this.#judging = judging;
    this.#left = limit;
  }

  async page(entries: readonly Entry[]): Promise<Found[]> {
    const withAcl = entries.filter(({ kind }) => kind === 'objects' || kind === 'versions');
    const asked = this.#unseen === undefined ? withAcl.slice(0, this.#left) : [];
    this.#left -= asked.length;
    this.#passed += withAcl.length - asked.length;
    return (await pMap(asked, (entry) => this.#judge(entry), { concurrency: PARALLEL })).flat();
  }

  /** What was not looked at. */
  *rest(): Generator<Found> {
    const { bucket } = this.#judging.remote;
    if (this.#unseen !== undefined)
      yield { code: 'not_examined', name: bucket, more: `ACLs of objects: ${this.#unseen}.` };
    else if (this.#passed > 0)
      yield { code: 'not_examined', name: bucket, more: `ACLs of ${this.#passed} objects, by objectAcls.` };
  }

  async #judge({ key, versionId }: Entry): Promise<Found[]> {
    const { remote } = this.#judging;
    const version = versionId === undefined ? {} : { VersionId: versionId };
    try {
      const command = new GetObjectAclCommand({ Bucket: remote.bucket, Key: key, ...version });
      const { Grants } = await remote.send(command);
      const found = judgeGrants(Grants, this.#judging);
      return [
        ...(found.has('public') ? [{ code: 'public_object_acl', name: key } as const] : []),
        ...(found.has('foreign') ? [{ code: 'foreign_object_grant', name: key } as const] : []),
      ];
    } catch (error) {
      const { status = 0, name } = answerOf(error);
      // Deleted since it was listed.
      if (status === 404) return [];
      if (!UNSEEN.has(status)) throw error;
      this.#unseen = `${name}, status ${status}`;
      return [];
    }
  }
}

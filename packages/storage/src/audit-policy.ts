import { z } from 'zod';
import type { Found } from './audit-findings.ts';
import type { StorageNames } from './names.ts';
import { SUBJECTS } from './spots.ts';

/** What a policy is judged by. */
export interface PolicyJudging {
  readonly bucket: string;
  readonly names: Pick<StorageNames, 'tenantOf' | 'template'>;
  /** ARNs, accounts and ids that may work for all tenants. */
  readonly principals: ReadonlySet<string>;
}

const texts = z.union([z.string().transform((one) => [one]), z.array(z.string())]);

const statementSchema = z.strictObject({
  Sid: z.string().optional(),
  Effect: z.enum(['Allow', 'Deny']),
  Principal: z.union([z.string(), z.record(z.string(), texts)]).optional(),
  NotPrincipal: z.unknown().optional(),
  Action: texts.optional(),
  NotAction: texts.optional(),
  Resource: texts.optional(),
  NotResource: texts.optional(),
  Condition: z.record(z.string(), z.record(z.string(), z.unknown())).optional(),
});

const policySchema = z.object({
  Statement: z.union([statementSchema.transform((one) => [one]), z.array(statementSchema)]),
});

type Statement = z.infer<typeof statementSchema>;

/**
 * Judges what a bucket's policy allows. What it denies is not weighed: a finding may be one that a Deny closes.
 *
 * Source of what counts as public: S3 user guide, “The meaning of public”.
 */
export function judgePolicy(text: string, judging: PolicyJudging): Found[] {
  const parsed = policySchema.safeParse(readJson(text));
  if (!parsed.success) return [{ code: 'unreadable_policy', name: judging.bucket }];
  return parsed.data.Statement.flatMap((statement, index): Found[] => {
    const code = judge(statement, judging);
    return code === undefined ? [] : [{ code, name: `statement ${statement.Sid ?? index + 1}` }];
  });
}

function judge(statement: Statement, judging: PolicyJudging): Found['code'] | undefined {
  if (statement.Effect !== 'Allow') return undefined;
  const confined = isConfined(statement, judging);
  if (isEverybody(statement)) {
    if (!isNarrowed(statement)) return 'public_policy';
    return confined ? undefined : 'public_policy_conditional';
  }
  const others = principalsOf(statement).filter((principal) => !isKnown(principal, judging.principals));
  return others.length === 0 || confined ? undefined : 'policy_beyond_tenants';
}

function principalsOf({ Principal = {} }: Statement): string[] {
  return typeof Principal === 'string' ? [Principal] : Object.values(Principal).flat();
}

function isEverybody(statement: Statement): boolean {
  // Everybody but some: that is everybody.
  return (
    statement.NotPrincipal !== undefined ||
    principalsOf(statement).some((principal) => principal.includes('*'))
  );
}

const ACCOUNT = /^arn:[^:]*:(?:iam|sts)::([^:]*):/;

function isKnown(principal: string, known: ReadonlySet<string>): boolean {
  return known.has(principal) || known.has(ACCOUNT.exec(principal)?.[1] ?? principal);
}

/** Conditions that hold for a fixed set of callers only, when they are there and have to be met. */
const OPERATOR =
  /^(?:ForAnyValue:)?(?:String(?:Equals|Like)|StringEqualsIgnoreCase|Arn(?:Equals|Like)|IpAddress)$/i;
const NARROWING: ReadonlySet<string> = new Set([
  'aws:principalaccount',
  'aws:principalarn',
  'aws:principalorgid',
  'aws:principalorgpaths',
  'aws:sourceaccount',
  'aws:sourcearn',
  'aws:sourceip',
  'aws:sourceorgid',
  'aws:sourcevpc',
  'aws:sourcevpce',
  'aws:userid',
  's3:dataaccesspointaccount',
  's3:dataaccesspointarn',
]);
// Of a value that anybody has there is no fixed set.
const ANY = /^(?:\*|0\.0\.0\.0\/0|::\/0)$/;

function isNarrowed({ Condition = {} }: Statement): boolean {
  return Object.entries(Condition).some(
    ([operator, keys]) =>
      OPERATOR.test(operator) &&
      Object.entries(keys).some(([key, given]) => {
        const values = texts.safeParse(given).data ?? [];
        return (
          NARROWING.has(key.toLowerCase()) && values.length > 0 && !values.some((value) => ANY.test(value))
        );
      }),
  );
}

/** What a statement may say about the bucket itself without reaching a tenant's objects or names. */
const HARMLESS: ReadonlySet<string> = new Set(['s3:getbucketlocation', 's3:getbucketversioning']);
/** Listings, which `s3:prefix` confines; that of uploads, where a server does not know it there, to nothing. */
const LISTING: ReadonlySet<string> = new Set([
  's3:listbucket',
  's3:listbucketmultipartuploads',
  's3:listbucketversions',
]);
/** Rights on objects mean nothing for the bucket itself. */
const OF_OBJECTS =
  /^s3:(?:abortmultipartupload|listmultipartuploadparts|restoreobject|(?:get|put|delete)object[a-z]*)$/;

// Of any partition: arn:aws-cn:s3:::uploads/….
const ARN = /^arn:[a-z0-9-]+:s3:[^:*?]*:[^:*?]*:(.*)$/s;

/** Whether a statement reaches objects of one tenant only. */
function isConfined(statement: Statement, judging: PolicyJudging): boolean {
  const { Action, NotAction, Resource, NotResource } = statement;
  if (NotAction !== undefined || NotResource !== undefined || Action === undefined || Resource === undefined)
    return false;
  return Resource.every((resource) => {
    const name = ARN.exec(resource)?.[1] ?? '';
    if (name.startsWith(`${judging.bucket}/`))
      return isOneTenants(name.slice(judging.bucket.length + 1), judging);
    if (name !== judging.bucket) return false;
    return Action.map((action) => action.toLowerCase()).every(
      (action) =>
        HARMLESS.has(action) ||
        OF_OBJECTS.test(action) ||
        (LISTING.has(action) && isListingConfined(statement, judging)),
    );
  });
}

function isListingConfined({ Condition = {} }: Statement, judging: PolicyJudging): boolean {
  return Object.entries(Condition).some(
    ([operator, keys]) =>
      /^String(?:Equals|Like)$/i.test(operator) &&
      Object.entries(keys).some(([key, given]) => {
        const values = texts.safeParse(given).data ?? [];
        return (
          key.toLowerCase() === 's3:prefix' &&
          values.length > 0 &&
          values.every((value) => isOneTenants(value, judging))
        );
      }),
  );
}

// A tag of the principal stands for one tenant in each session.
const VARIABLE = /\$\{aws:PrincipalTag\/[^{}]+\}/gi;

/** Whether all that a pattern matches is one tenant's: before the first wildcard stand its id and the slash. */
function isOneTenants(pattern: string, { names }: PolicyJudging): boolean {
  const [literal = ''] = pattern.replace(VARIABLE, 'x').split(/[*?]|\$\{/);
  if (names.tenantOf(literal) !== undefined) return true;
  return literal.startsWith(SUBJECTS) && literal.slice(SUBJECTS.length).includes('/');
}

function readJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

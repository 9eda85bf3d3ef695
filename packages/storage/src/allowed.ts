import type { InputField, InputFields } from './fields/index.ts';
import type { CommandPlan } from './rules.ts';

// Headers that say how a request travels or who asks, never what it is about. Everything else must come from an
// allowed field of the command: gateways give meaning to many (x-http-method-override, x-original-url,
// x-forwarded-host), and some read x_amz_copy_source like x-amz-copy-source.
const TRAVEL: ReadonlySet<string> = new Set([
  'accept',
  'accept-encoding',
  'authorization',
  'connection',
  'content-length',
  'content-type',
  'date',
  'expect',
  'host',
  'transfer-encoding',
  'user-agent',
  'amz-sdk-invocation-id',
  'amz-sdk-request',
  'x-amz-content-sha256',
  'x-amz-date',
  'x-amz-user-agent',
  'x-amz-decoded-content-length',
  'x-amz-region-set',
  'x-amz-security-token',
  'x-amz-trailer',
  'traceparent',
  'tracestate',
  'baggage',
  'b3',
  'sentry-trace',
  'x-amzn-trace-id',
  'x-request-id',
  'x-correlation-id',
  'x-datadog-parent-id',
  'x-datadog-sampling-priority',
  'x-datadog-trace-id',
  'x-b3-flags',
  'x-b3-parentspanid',
  'x-b3-sampled',
  'x-b3-spanid',
  'x-b3-traceid',
  'x-cloud-trace-context',
  'elastic-apm-traceparent',
  'newrelic',
  'uber-trace-id',
]);

// The parameters of SigV4's query form, in the one spelling that the signer gives them.
export const SIGNATURE: ReadonlySet<string> = new Set([
  'X-Amz-Algorithm',
  'X-Amz-Content-Sha256',
  'X-Amz-Credential',
  'X-Amz-Date',
  'X-Amz-Expires',
  'X-Amz-Security-Token',
  'X-Amz-Signature',
  'X-Amz-SignedHeaders',
  'X-Amz-Region-Set',
]);

// Set by the SDK when it sends a body in chunks with a checksum behind it.
const BODY: ReadonlySet<string> = new Set([
  'content-encoding',
  'content-md5',
  'x-amz-sdk-checksum-algorithm',
]);

/** What a request of one row may carry. */
export interface Allowed {
  /** Headers by name, with the field that they come from. */
  readonly headers: ReadonlyMap<string, InputField | undefined>;
  readonly families: readonly string[];
  /** Query parameters by name. */
  readonly query: ReadonlyMap<string, InputField>;
  /** Texts in the XML of the body, by their path: `Delete/Object/Key`. */
  readonly elements: ReadonlyMap<string, InputField>;
  /** Whether the body is a stream of bytes. */
  readonly streams: boolean;
  /** Fields that must be there. */
  readonly required: readonly string[];
}

const allowedOf = new WeakMap<CommandPlan, Allowed>();

/** The headers, query parameters and XML elements that a row lets through. */
export function allowed(plan: CommandPlan): Allowed {
  const known = allowedOf.get(plan);
  if (known !== undefined) return known;
  const fields = Object.values(plan.input).filter((row): row is InputField => !('kind' in row));
  const headers = new Map<string, InputField | undefined>([...TRAVEL].map((name) => [name, undefined]));
  const query = new Map<string, InputField>();
  const elements = new Map<string, InputField>();
  for (const field of fields) {
    if (field.header !== undefined) headers.set(field.header, field);
    if (field.query !== undefined) query.set(field.query, field);
    if (field.element !== undefined) collect(elements, field.element, field);
  }
  const streams = fields.some(({ as }) => as === 'body');
  if (streams || elements.size > 0)
    for (const name of BODY) if (!headers.has(name)) headers.set(name, undefined);
  const families = [...headers.keys()].filter((name) => name.endsWith('*')).map((name) => name.slice(0, -1));
  const required = requiredOf(plan.input);
  const made: Allowed = { headers, families, query, elements, streams, required };
  allowedOf.set(plan, made);
  return made;
}

const requiredIn = new WeakMap<InputFields, readonly string[]>();

/** The names of those fields that must be there. Of a table, which does not change: a batch asks for each of its keys. */
export function requiredOf(rows: InputFields): readonly string[] {
  const known = requiredIn.get(rows);
  if (known !== undefined) return known;
  const required = Object.entries(rows).flatMap(([name, row]) => ('required' in row ? name : []));
  requiredIn.set(rows, required);
  return required;
}

function collect(elements: Map<string, InputField>, path: string, field: InputField): void {
  elements.set(path, field);
  for (const [name, part] of Object.entries(field.fields ?? {})) {
    if (!('kind' in part)) collect(elements, `${path}/${part.element ?? name}`, part);
  }
}

import { auditSignal, isId, parseOptions, type Auditor, type Finding } from '@tenantkit/core';
import { z } from 'zod';
import { guardOf, type Client } from './client.ts';
import { isObject } from './json.ts';
import { flawsOf } from './mapping.ts';
import { operator, type Operate } from './operate.ts';
import type { SearchSettings } from './options.ts';

/** Options of {@link searchAuditor}. */
export interface SearchAuditorOptions {
  /** Which indices to look at, by default all in which the client may work. */
  readonly indices?: readonly string[] | undefined;
  /** The name of this store in findings, by default `search`. */
  readonly store?: string | undefined;
}

const schema: z.ZodType<SearchAuditorOptions> = z.strictObject({
  indices: z.array(z.string()).min(1).optional(),
  store: z.string().min(1).max(100).optional(),
});

// Documents per page of the walk.
const PAGE = 1_000;

// Findings of one kind per index that are told one by one. A whole index without the field is one problem.
const TOLD = 20;

const FINDINGS = {
  document_without_tenant: {
    severity: 'high',
    message: 'A document has no tenant: no tenant can find it, and no erasure does.',
    hint: 'Find out who writes past @tenantkit/search; write it again inside its tenant, or delete it.',
  },
  document_of_several_tenants: {
    severity: 'critical',
    message: 'A document has several tenants: each of them finds it.',
    hint: 'Delete it, and write it again inside the one tenant it belongs to.',
  },
  document_of_no_tenant: {
    severity: 'high',
    message: 'The tenant of a document is no tenant id.',
    hint: 'Find out who writes past @tenantkit/search; write it again inside its tenant, or delete it.',
  },
  id_disagrees: {
    severity: 'critical',
    message: 'The _id of a document belongs to another tenant than its field says, or to none.',
    hint: 'Write it again inside its tenant, and delete this one: a search that finds it is refused as a breach.',
  },
  erased_tenant: {
    severity: 'critical',
    message: 'A document belongs to a tenant that was erased.',
    hint: 'Find out who still writes for that tenant, then run its erasure again.',
  },
  index_missing: {
    severity: 'high',
    message:
      'An index of tenant.indices does not exist: the first write past this package creates it with a guessed mapping.',
    hint: 'Create it and run ensureTenantMapping(client, index), or take it out of the options.',
  },
  mapping_grows: {
    severity: 'info',
    message:
      'New fields are mapped as they come, so tenants can learn which fields others have, and block types.',
    hint: 'Set dynamic to strict or false in the mapping.',
  },
} as const satisfies Record<string, Pick<Finding, 'severity' | 'message' | 'hint'>>;

type Code = keyof typeof FINDINGS;

/**
 * The auditor of one OpenSearch client: looks at the mapping and settings of each index, then walks through all
 * documents and reports those whose tenant is missing, doubled, or another one than their `_id` says. Reads
 * `_id` and one doc value per document, and changes nothing.
 *
 * @param client - of this package; with a `fence` in its options, documents of erased tenants are found too
 * @throws {@link ConfigError} for unknown options
 *
 * @example
 * ```ts
 * import { Client, searchAuditor } from '@tenantkit/search';
 * const client = new Client({ node, tenant: { indices: ['orders'] } });
 * for await (const finding of searchAuditor(client).audit(AbortSignal.timeout(60_000))) {
 *   console.log(finding.severity, finding.name, finding.message);
 * }
 * ```
 */
export function searchAuditor(client: Client, options: SearchAuditorOptions = {}): Auditor {
  const { store = 'search', indices: given } = parseOptions('search', schema, options);
  const { settings } = guardOf(client);
  const indices = given ?? [...settings.indices];
  return {
    store,
    async *audit(given) {
      const signal = auditSignal('search', 'searchAuditor.audit', given);
      const operate = operator(client, 'searchAuditor.audit');
      for (const index of indices) yield* auditIndex({ store, index, operate, settings, signal });
    },
  };
}

interface Audited {
  readonly store: string;
  readonly index: string;
  readonly operate: Operate;
  readonly settings: SearchSettings;
  readonly signal: AbortSignal;
}

async function* auditIndex(audited: Audited): AsyncGenerator<Finding> {
  const { store, index, operate, settings, signal } = audited;
  signal.throwIfAborted();
  const described = await operate({ method: 'GET', path: `/${index}` });
  if (described === undefined) {
    yield { store, code: 'index_missing', name: index, ...FINDINGS.index_missing };
    return;
  }
  const flaws = flawsOf(index, described, settings);
  for (const { code, problem, hint } of flaws) {
    yield { store, severity: 'critical', code, message: `${problem}.`, name: index, hint };
  }
  if (growsFields(described[index]))
    yield { store, code: 'mapping_grows', name: index, ...FINDINGS.mapping_grows };
  const told = new Map<Code, number>();
  for await (const { id, values } of documentsOf(audited)) {
    const code = codeOf(id, values, settings);
    if (code === undefined) continue;
    const count = (told.get(code) ?? 0) + 1;
    told.set(code, count);
    if (count <= TOLD) yield { store, code, name: `${index}/${id}`, ...FINDINGS[code] };
  }
  for (const [code, count] of told) {
    if (count <= TOLD) continue;
    const { severity, message, hint } = FINDINGS[code];
    yield { store, severity, code, name: index, message: `${message} So do ${count - TOLD} more.`, hint };
  }
}

function codeOf(id: string, values: readonly unknown[], { names, fence }: SearchSettings): Code | undefined {
  const [tenant, another] = values;
  if (tenant === undefined) return 'document_without_tenant';
  if (another !== undefined) return 'document_of_several_tenants';
  if (!isId(tenant)) return 'document_of_no_tenant';
  if (names.tenantOf(id) !== tenant) return 'id_disagrees';
  return fence?.state(tenant) === 'erased' ? 'erased_tenant' : undefined;
}

// From _source, not from doc values: the audit must also see what a wrong mapping does not index.
async function* documentsOf({
  index,
  operate,
  settings,
  signal,
}: Audited): AsyncGenerator<{ readonly id: string; readonly values: readonly unknown[] }> {
  let page = await operate({
    method: 'POST',
    path: `/${index}/_search`,
    query: { scroll: '1m' },
    body: { size: PAGE, sort: ['_doc'], _source: [settings.field], query: { match_all: {} } },
  });
  const scrollId: unknown = page?.['_scroll_id'];
  try {
    for (let hits = hitsOf(page); hits.length > 0; hits = hitsOf(page)) {
      for (const hit of hits) {
        if (!isObject(hit) || typeof hit['_id'] !== 'string') continue;
        yield { id: hit['_id'], values: valuesOf(hit['_source'], settings.field) };
      }
      signal.throwIfAborted();
      page = await operate({
        method: 'POST',
        path: '/_search/scroll',
        body: { scroll: '1m', scroll_id: scrollId },
      });
    }
  } finally {
    await operate({ method: 'DELETE', path: '/_search/scroll', body: { scroll_id: [scrollId] } });
  }
}

function hitsOf(page: Readonly<Record<string, unknown>> | undefined): readonly unknown[] {
  const hits = isObject(page?.['hits']) ? page['hits']['hits'] : undefined;
  return Array.isArray(hits) ? hits : [];
}

// In every spelling that the server indexes: nested in lists as well.
function valuesOf(source: unknown, field: string): readonly unknown[] {
  const value: unknown = isObject(source) ? source[field] : undefined;
  const list: readonly unknown[] = Array.isArray(value) ? value.flat(Infinity) : [value];
  return list.filter((entry) => entry !== undefined && entry !== null);
}

function growsFields(definition: unknown): boolean {
  const mappings = isObject(definition) ? definition['mappings'] : undefined;
  const dynamic = isObject(mappings) ? mappings['dynamic'] : undefined;
  return dynamic === undefined || dynamic === true || dynamic === 'true';
}

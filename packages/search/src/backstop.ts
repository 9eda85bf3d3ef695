import { assertId, parseOptions } from '@tenantkit/core';
import { z } from 'zod';
import { fieldName, indexName } from './options.ts';

/** Options of {@link searchBackstop}. */
export interface SearchBackstopOptions {
  /** The indices that the tenant works in. */
  readonly indices: readonly string[];
  /** The keyword field that holds the tenant's id, default `tenant_id`. */
  readonly field?: string | undefined;
}

/** An action of `POST /_aliases`. */
export interface AliasAction {
  readonly add: {
    readonly index: string;
    readonly alias: string;
    readonly filter: { readonly term: { readonly [field: string]: { readonly value: string } } };
  };
}

/** What the server itself can enforce for one tenant. */
export interface SearchBackstop {
  /** For `client.indices.updateAliases({ body })`: one filtered alias per index. Reads through it see the tenant only. */
  readonly aliases: { readonly actions: AliasAction[] };
  /**
   * For `PUT /_plugins/_security/api/roles/<name>`, with the security plugin: read access to the indices, with
   * document-level security.
   */
  readonly role: {
    readonly name: string;
    readonly definition: {
      readonly cluster_permissions: readonly string[];
      readonly index_permissions: readonly {
        readonly index_patterns: readonly string[];
        readonly dls: string;
        readonly allowed_actions: readonly string[];
      }[];
    };
  };
}

const schema: z.ZodType<SearchBackstopOptions> = z.strictObject({
  indices: z.array(indexName).min(1),
  field: fieldName.optional(),
});

/**
 * What OpenSearch itself can enforce for one tenant, without our code: a filtered alias per index, and a role of
 * the security plugin with document-level security (DLS).
 *
 * Both hold for reads. An alias does not filter what is written through it, and DLS does not either: the role
 * grants no writing. The plugin must be installed for the role to mean anything; without it whoever reaches the
 * server reads every index.
 *
 * @param tenant - the tenant's id
 * @throws {@link InvalidTenantError} when the id is malformed
 * @throws {@link ConfigError} for unknown options
 * @see https://docs.opensearch.org/latest/security/access-control/document-level-security/
 *
 * @example
 * ```ts
 * import { acrossTenants } from '@tenantkit/core';
 * import { searchBackstop } from '@tenantkit/search';
 * const { aliases, role } = searchBackstop('acme', { indices: ['orders'] });
 * await acrossTenants({ reason: 'backstop', actor: 'deploy' }, () => client.indices.updateAliases({ body: aliases }));
 * console.log(JSON.stringify(role.definition, null, 2));
 * ```
 */
export function searchBackstop(tenant: string, options: SearchBackstopOptions): SearchBackstop {
  const { indices, field = 'tenant_id' } = parseOptions('search', schema, options);
  assertId(tenant);
  const term = { term: { [field]: { value: tenant } } };
  return {
    aliases: {
      actions: indices.map((index) => ({ add: { index, alias: aliasOf(index, tenant), filter: term } })),
    },
    role: {
      name: `tk!${tenant}`,
      definition: {
        cluster_permissions: [],
        index_permissions: [
          { index_patterns: indices, dls: JSON.stringify(term), allowed_actions: ['read'] },
        ],
      },
    },
  };
}

// `!` is in no index of tenant.indices and in no id, so that no two pairs share an alias.
function aliasOf(index: string, tenant: string): string {
  return `tk!${index}!${tenant}`;
}

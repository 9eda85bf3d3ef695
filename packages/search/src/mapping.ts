import { ConfigError } from '@tenantkit/core';
import { isObject } from './json.ts';
import type { SearchSettings } from './options.ts';

/** What is wrong with an index, for isolation. */
export interface Flaw {
  /** Stable and literal. */
  readonly code:
    | 'index_is_alias'
    | 'field_missing'
    | 'field_not_keyword'
    | 'field_altered'
    | 'field_fed'
    | 'source_altered'
    | 'pipeline_set';
  readonly problem: string;
  readonly hint: string;
}

// What a keyword field may say beside its type and still hold every id as it was given. `index` and `doc_values`
// appear only when they are off, `ignore_above` drops ids, a normalizer makes `Acme` and `acme` one.
const HARMLESS: ReadonlySet<string> = new Set(['type', 'eager_global_ordinals', 'store', 'meta']);
const PIPELINES = ['default_pipeline', 'final_pipeline'] as const;

/**
 * What breaks isolation in an index.
 *
 * @param index - its configured name
 * @param described - the reply to `GET /<index>`
 */
export function flawsOf(index: string, described: unknown, settings: SearchSettings): readonly Flaw[] {
  const definition = isObject(described) ? described[index] : undefined;
  if (!isObject(definition)) {
    return [
      {
        code: 'index_is_alias',
        problem: `${index} is an alias or data stream`,
        hint: 'Name the index itself: what an alias reaches can change at any time, and its filter and write index are not checked.',
      },
    ];
  }
  const mappings = isObject(definition['mappings']) ? definition['mappings'] : {};
  const properties = isObject(mappings['properties']) ? mappings['properties'] : {};
  return [
    ...[settings.field, settings.subjectsField].flatMap((field) =>
      fieldFlaws(index, field, properties[field]),
    ),
    ...feederFlaws(index, mappings, settings),
    ...sourceFlaws(index, mappings['_source']),
    ...pipelineFlaws(index, definition['settings']),
  ];
}

/** The error for an index with flaws: the first of them. */
export function flawed(index: string, flaws: readonly Flaw[]): ConfigError | undefined {
  const [flaw] = flaws;
  if (flaw === undefined) return undefined;
  const { problem, hint } = flaw;
  return new ConfigError({ surface: 'search', operation: `index ${index}`, problem, hint });
}

function fieldFlaws(index: string, field: string, mapping: unknown): readonly Flaw[] {
  if (!isObject(mapping)) {
    return [
      {
        code: 'field_missing',
        problem: `${index} has no field ${field}`,
        hint: 'Run ensureTenantMapping(client, index) once: the server would otherwise map it as text and find one tenant under the words of another.',
      },
    ];
  }
  if (mapping['type'] !== 'keyword') {
    return [
      {
        code: 'field_not_keyword',
        problem: `the field ${field} of ${index} is mapped as ${typeof mapping['type'] === 'string' ? mapping['type'] : 'an object'}`,
        hint: 'It must be keyword: reindex into an index on which ensureTenantMapping(client, index) was run first.',
      },
    ];
  }
  const altered = Object.keys(mapping).filter((key) => !HARMLESS.has(key));
  return altered.length === 0
    ? []
    : [
        {
          code: 'field_altered',
          problem: `the field ${field} of ${index} sets ${altered.join(', ')}`,
          hint: 'It must be a plain keyword field: reindex into an index on which ensureTenantMapping(client, index) was run first.',
        },
      ];
}

// A field that copies its values into ours, or is another name of it, lets a document choose its tenant.
function feederFlaws(index: string, mappings: unknown, settings: SearchSettings): readonly Flaw[] {
  const ours = new Set([settings.field, settings.subjectsField]);
  const found = new Set<string>();
  const visit = (value: unknown): void => {
    if (Array.isArray(value)) value.forEach(visit);
    if (!isObject(value)) return;
    for (const [key, inner] of Object.entries(value)) {
      const targets: readonly unknown[] = Array.isArray(inner) ? inner : [inner];
      if (key === 'copy_to' || key === 'path') {
        for (const target of targets)
          if (typeof target === 'string' && ours.has(target)) found.add(`${key} ${target}`);
      }
      visit(inner);
    }
  };
  visit(mappings);
  return [...found].map((what) => ({
    code: 'field_fed',
    problem: `a field of ${index} has ${what}`,
    hint: 'Nothing may feed or rename the fields of tenantkit: reindex without it.',
  }));
}

function sourceFlaws(index: string, source: unknown): readonly Flaw[] {
  if (!isObject(source)) return [];
  const { enabled, includes, excludes } = source;
  if (enabled !== false && enabled !== 'false' && includes === undefined && excludes === undefined) return [];
  return [
    {
      code: 'source_altered',
      problem: `${index} does not keep the whole _source`,
      hint: 'A document that is read by its _id is checked by its _source: reindex with _source enabled and unfiltered.',
    },
  ];
}

function pipelineFlaws(index: string, settings: unknown): readonly Flaw[] {
  const inner = isObject(settings) && isObject(settings['index']) ? settings['index'] : {};
  const search = isObject(inner['search']) ? inner['search']['default_pipeline'] : undefined;
  const set = [
    ...PIPELINES.map((name) => [name, inner[name]] as const),
    ['search.default_pipeline', search] as const,
  ];
  return set
    .filter(([, value]) => value !== undefined && value !== '_none')
    .map(([name]) => ({
      code: 'pipeline_set',
      problem: `${index} sets index.${name}`,
      hint: 'A pipeline runs after every check and can rewrite tenant, _id and query: unset it and prepare documents in the service.',
    }));
}

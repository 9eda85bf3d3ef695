import type { SearchSettings } from './options.ts';
import type { Params } from './params.ts';
import type { Refuse } from './refusing.ts';
import { twice } from './values.ts';

interface SourceRequest {
  readonly operation: string;
  readonly params: Params;
  readonly settings: SearchSettings;
  readonly refuse: Refuse;
}

/**
 * The tenant's id must be in the `_source` that comes back, whatever part of it the caller wants to see: by it
 * the document is checked.
 */
export function sourceWithTenant({ params, settings, refuse, operation }: SourceRequest): {
  readonly params: Params;
  readonly hidesSource: boolean;
} {
  const result = new Map(params);
  const source = result.get('_source');
  const includes = result.get('_source_includes');
  const excludes = result.get('_source_excludes');
  if (excludes?.split(',').some((pattern) => covers(pattern.trim(), settings.field)) === true) {
    throw refuse(
      '_source_excludes covers the field by which the document is checked',
      'Name the excluded fields; that field is never shown anyway.',
    );
  }
  if (source === 'false') {
    if (operation === 'getSource')
      throw refuse('it asks for the source and against it', 'Leave _source out.');
    result.delete('_source');
    result.delete('_source_excludes');
    result.set('_source_includes', settings.field);
    return { params: result, hidesSource: true };
  }
  const listed = source === 'true' || source === '' ? undefined : source;
  if (listed !== undefined && includes !== undefined) throw twice({ refuse }, '_source');
  const wanted = listed ?? includes;
  if (wanted !== undefined && wanted !== '') {
    result.delete('_source');
    result.set('_source_includes', `${wanted},${settings.field}`);
  }
  return { params: result, hidesSource: false };
}

function covers(pattern: string, field: string): boolean {
  const [first = '', ...rest] = pattern.split('*');
  if (rest.length === 0) return pattern === field;
  const last = rest.pop() ?? '';
  if (!field.startsWith(first) || !field.endsWith(last)) return false;
  // Narrower patterns than `a*b` are not worth a matcher: `a*b*c` is taken to cover what `a*c` covers.
  return true;
}

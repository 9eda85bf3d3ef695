import { ConfigError, IsolationBreachError, type Surface } from './errors.ts';
import { publish } from './events.ts';
import { ID_ALPHABET, ID_MAX_LENGTH, assertId } from './ids.ts';

/** Physical name ↔ logical name of one store. Pure: no I/O, no context. */
export interface NameCodec {
  /** The template it was made from, such as `tk:{tenant}:`. */
  readonly template: string;
  /** What every physical name of the tenant begins with. */
  prefix(tenant: string): string;
  /** The physical name. Injective over (tenant, name). */
  encode(tenant: string, name: string): string;
  /**
   * The logical name.
   * @throws {@link IsolationBreachError} when `physical` is not the tenant's
   */
  decode(tenant: string, physical: string): string;
  /** Whether `physical` belongs to the tenant. */
  owns(tenant: string, physical: string): boolean;
  /** Which tenant a physical name belongs to, or `undefined`: for auditors, which see raw names. */
  tenantOf(physical: string): string | undefined;
}

const TOKEN = '{tenant}';
const EXAMPLE = 'tk:{tenant}: or tenants/{tenant}/';
const FOLLOWS_ID = new RegExp(`^[^${ID_ALPHABET}]`);

/**
 * Makes the codec of a name template. The template is refused unless it is injective: with a character outside
 * the id alphabet right after `{tenant}`, the end of the id is certain, and no tenant's prefix is the beginning
 * of another's (`acme` and `acme2` under `{tenant}-` would meet in `acme-…`; `acme-` is also an id).
 *
 * @param template - text with `{tenant}` exactly once, for example `tk:{tenant}:` or `tenants/{tenant}/`
 * @param options - `surface` for errors; `forbid`: characters that the store gives a meaning of its own;
 *   `example`: templates that the surface takes, for errors
 * @throws {@link ConfigError} when the template is not injective or could produce a reserved `tk!` name
 *
 * @example
 * ```ts
 * import { nameTemplate } from '@tenantkit/core';
 * const names = nameTemplate('tk:{tenant}:', { surface: 'cache' });
 * names.encode('acme', 'user:1'); // 'tk:acme:user:1'
 * names.decode('acme', 'tk:acme2:user:1'); // throws IsolationBreachError
 * ```
 */
export function nameTemplate(
  template: string,
  { surface, forbid, example = EXAMPLE }: { surface: Surface; forbid?: RegExp; example?: string },
): NameCodec {
  const invalid = (problem: string): ConfigError => invalidTemplate(surface, problem, example);
  const parts = template.split(TOKEN);
  const [before, after] = parts;
  if (before === undefined || after === undefined || parts.length !== 2) {
    throw invalid(`the name template must hold ${TOKEN} exactly once`);
  }
  if (!FOLLOWS_ID.test(after)) {
    throw invalid(`in the name template a character other than A-Z a-z 0-9 _ - must follow ${TOKEN}`);
  }
  // Names of tenantkit's own begin with `tk!`; a template with `!` could make a tenant's name look like one.
  if (template.includes('!')) throw invalid('the name template must not hold "!": such names are reserved');
  // oxlint-disable-next-line no-control-regex -- control characters are exactly what is looked for
  if (/[\u0000-\u001f\u007f]/.test(template)) throw invalid('the name template holds a control character');
  if (forbid?.test(template)) throw invalid(`the name template holds a character of ${forbid.source}`);

  const shape = new RegExp(`^${escape(before)}([${ID_ALPHABET}]{1,${ID_MAX_LENGTH}})${escape(after)}`);
  const prefix = (tenant: string): string => {
    assertId(tenant);
    return before + tenant + after;
  };
  return {
    template,
    prefix,
    encode: (tenant, name) => prefix(tenant) + name,
    owns: (tenant, physical) => physical.startsWith(prefix(tenant)),
    tenantOf: (physical) => shape.exec(physical)?.[1],
    decode(tenant, physical) {
      const own = prefix(tenant);
      if (!physical.startsWith(own))
        throw breach(surface, 'decode', 'a name outside the tenant came back', tenant);
      return physical.slice(own.length);
    },
  };
}

/** The error for a reply that carried another tenant's name or data, after one `tenantkit:breach` event. */
export function breach(
  surface: Surface,
  operation: string,
  what: string,
  tenant?: string,
): IsolationBreachError {
  const error = new IsolationBreachError({ surface, operation, what });
  publish('breach', { surface, operation, message: error.message, tenant });
  return error;
}

function invalidTemplate(surface: Surface, problem: string, example: string): ConfigError {
  return new ConfigError({
    surface,
    operation: 'names',
    problem,
    hint: `Use a template such as ${example}.`,
  });
}

function escape(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&');
}

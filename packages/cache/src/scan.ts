import { word, type Argument } from './keyspec.ts';
import type { TenantNames } from './names.ts';

const OPTIONS: ReadonlySet<string> = new Set(['match', 'count', 'type']);

/**
 * The arguments of SCAN for one tenant: the pattern is put behind the tenant's escaped prefix, and one is added
 * where none was given. The cursor, COUNT and TYPE stay, so a page may be empty before the scan is over.
 *
 * @returns `undefined` when the cursor is missing, or an option is not known or has no value
 */
export function scopeScan(args: readonly Argument[], names: TenantNames): Argument[] | undefined {
  // Without a cursor the server would take our MATCH for it.
  if (args.length === 0) return undefined;
  const scoped = args.slice(0, 1);
  let matched = false;
  for (let place = 1; place < args.length; place += 2) {
    const [option, value] = [args[place], args[place + 1]];
    const name = word(option);
    if (option === undefined || value === undefined || !OPTIONS.has(name)) return undefined;
    if (name === 'match') {
      // Of two patterns the server takes the last, which must be a scoped one too.
      matched = true;
      scoped.push(option, names.glob(value));
    } else {
      scoped.push(option, value);
    }
  }
  if (!matched) scoped.push('MATCH', names.glob('*'));
  return scoped;
}

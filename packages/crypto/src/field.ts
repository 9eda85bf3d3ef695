/** Which field of which row a value belongs to. Bound into the ciphertext: it decrypts nowhere else. */
export interface Field {
  readonly table: string;
  readonly column: string;
  /**
   * The row's id, when it is known at encryption: keeps a value from being copied to another row. A number and
   * a bigint are bound as their decimal text, so that `7`, `7n` and `'7'` are the same row.
   */
  readonly row?: string | number | bigint;
}

/** A {@link Field} that was read once and found to be well-formed. */
export interface BoundField {
  readonly table: string;
  readonly column: string;
  readonly row: Buffer | undefined;
}

/** Longest table, column or row, in UTF-16 units: identifiers, not data. */
const MAX_NAME = 256;

const KEYS: ReadonlySet<string> = new Set(['table', 'column', 'row'] satisfies (keyof Field)[]);

/**
 * Reads a field, each part once; `undefined` when it is not one. A key that is not known is refused, and so is a
 * `row` that is there in any form (own, inherited, by an accessor, not enumerable) and `undefined`: a row id that
 * got lost on the way would silently leave the value unbound.
 */
export function readField(field: Field): BoundField | undefined {
  if (typeof field !== 'object' || field === null) return undefined;
  for (const key in field) if (!KEYS.has(key)) return undefined;
  // A polluted prototype would bind every value to its row, and no value were readable without it.
  for (const key of KEYS) if (key in Object.prototype && !Object.hasOwn(field, key)) return undefined;
  const { table, column, row: given } = field;
  if (!isName(table) || !isName(column)) return undefined;
  if (given === undefined) return 'row' in field ? undefined : { table, column, row: undefined };
  const row = rowText(given);
  return row === undefined ? undefined : { table, column, row: Buffer.from(row, 'utf8') };
}

function rowText(row: unknown): string | undefined {
  if (typeof row === 'string') return isName(row) ? row : undefined;
  if (typeof row === 'bigint') return isName(String(row)) ? String(row) : undefined;
  // Beyond the safe integers two ids are one number; -0 and 0 are two that print the same.
  return typeof row === 'number' && Number.isSafeInteger(row) ? String(row) : undefined;
}

function isName(value: unknown): value is string {
  return typeof value === 'string' && value.length > 0 && value.length <= MAX_NAME && value.isWellFormed();
}

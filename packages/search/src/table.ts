/** Freezes a table and takes its prototype away: a clause or parameter named `constructor` must be no row. */
export function table<T extends Readonly<Record<string, unknown>>>(rows: T): Readonly<T> {
  return Object.freeze(Object.assign(Object.create(null), rows)) as Readonly<T>;
}

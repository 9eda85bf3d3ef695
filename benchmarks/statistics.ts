/** The middle value. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** The value below which `part` of the values lie, 0 to 1. */
function quantile(values: readonly number[], part: number): number {
  return values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * part)] ?? NaN;
}

const RESAMPLES = 2_000;

/** Between what the median lies with 95 % certainty: percentile bootstrap (Efron 1979). */
export function interval(values: readonly number[]): { readonly low: number; readonly high: number } {
  const medians = Array.from({ length: RESAMPLES }, () =>
    median(values.map(() => values[Math.floor(Math.random() * values.length)] ?? NaN)),
  );
  return { low: quantile(medians, 0.025), high: quantile(medians, 0.975) };
}

/** One of some values, in turn. @throws RangeError when there are none */
export function inTurn<T>(values: readonly T[], turn: number): T {
  const value = values.at(turn % values.length);
  if (value === undefined) throw new RangeError('there is no value');
  return value;
}

import { refusal, refuse } from '@tenantkit/core';

const NO_LIST = refuse('the jobs are no array', 'Give an array of { name, data, opts }.');

/**
 * The elements of an array. No method of what was given is called: one with a `map` of its own would answer what
 * nobody has checked.
 *
 * @param otherwise - what is said of anything else
 * @throws {@link OperationRefusedError} on anything but an array
 */
export function toList(
  given: unknown,
  operation: string,
  caller?: string,
  otherwise = NO_LIST,
): readonly unknown[] {
  if (!Array.isArray(given)) throw refusal('queue', operation, otherwise, caller);
  return Array.from({ length: given.length }, (_, at) => given[at] as unknown);
}

import { refusal, refuse } from '@tenantkit/core';
import { amount, position } from './checks.ts';
import { byId } from './job.ts';
import type { Handler } from './guard.ts';

const NO_TEXT = refuse(
  'a row of the log cannot be written as text',
  'Log a text: JSON.stringify(value) for an object.',
);

/**
 * The log of a job. What is given to ioredis is text and numbers: of anything else it makes a text itself, twice, once
 * where nobody can catch what that throws, and one tenant's `{"toString":1}` would end the process of all.
 */
export const logHandlers = {
  async addLog(guard, tenant, operation, [id, row, keep]) {
    return byId(guard, tenant, operation, [id, textOf(operation, row), checkKept(operation, keep)]);
  },

  async getJobLogs(guard, tenant, operation, [id, start = 0, end = -1, ascending = true]) {
    const range = [position(operation, start), position(operation, end), ascending === true];
    return byId(guard, tenant, operation, [id, ...range]);
  },

  async clearLogs(guard, tenant, operation, [id, keep]) {
    return byId(guard, tenant, operation, [id, checkKept(operation, keep)]);
  },
} satisfies Readonly<Record<string, Handler>>;

/** How many rows are kept, as BullMQ has it: none, or 0, keeps all rows that there are, or clears all of them. */
export function checkKept(operation: string, keep: unknown): number | undefined {
  return keep === undefined || keep === null ? undefined : amount(operation, keep);
}

function textOf(operation: string, row: unknown): string {
  if (row === undefined || row === null) return '';
  try {
    // oxlint-disable-next-line typescript/no-base-to-string -- of an Error its message; of a plain object what BullMQ logs
    return String(row);
  } catch {
    throw refusal('queue', operation, NO_TEXT);
  }
}

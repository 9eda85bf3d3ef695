import { amount, priorities } from './checks.ts';
import { checkKept } from './logs.ts';

type Check = (args: readonly unknown[], operation: string) => void;

/**
 * What an operator's call is checked for, which is given to BullMQ as it is: a server that refuses it would say so in an
 * error of its own, or BullMQ in one of JavaScript's.
 */
export const operatorChecks: Readonly<Partial<Record<string, Check>>> = {
  trimEvents: ([most], operation) => void amount(operation, most),
  clearLogs: ([, keep], operation) => void checkKept(operation, keep),
  addLog: ([, , keep], operation) => void checkKept(operation, keep),
  getCountsPerPriority: ([list], operation) => void priorities(operation, list),
};

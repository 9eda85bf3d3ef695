import { refusal, refuse } from '@tenantkit/core';

/** How deep a flow may be: BullMQ goes down it by recursion. */
const DEEPEST = 5_000;

const NO_TREE = refuse(
  'the flow is no tree of jobs',
  'Give { name, queueName, data, opts, children }, with an array of the same as children.',
);
const TOO_DEEP = refuse(
  `the flow is deeper than ${DEEPEST} jobs, or leads back to itself`,
  'Give each job children of its own, and let the last of a long chain add the next one.',
);

/**
 * Checks that a flow ends: in one that leads back to itself BullMQ would go round until the stack is full.
 *
 * @throws {@link OperationRefusedError} on what is no tree
 */
export function checkTree(operation: string, flow: unknown, caller?: string): void {
  const open: { readonly node: unknown; readonly depth: number }[] = [{ node: flow, depth: 1 }];
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    const { node, depth } = next;
    if (depth > DEEPEST) throw refusal('queue', operation, TOO_DEEP, caller);
    if (typeof node !== 'object' || node === null) throw refusal('queue', operation, NO_TREE, caller);
    const { children } = node as { children?: unknown };
    if (children === undefined || children === null) continue;
    if (!Array.isArray(children)) throw refusal('queue', operation, NO_TREE, caller);
    for (const child of children as unknown[]) open.push({ node: child, depth: depth + 1 });
  }
}

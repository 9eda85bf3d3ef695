import { STATES, TRANSITIONS, isTerminal, type ErasureState } from '@tenantkit/erasure';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { canMove, hasBegun, isRunnable } from '../src/states.ts';

describe('the table of states', () => {
  it('leads from every state to an end', () => {
    const ends = (from: ErasureState, seen = new Set<ErasureState>()): boolean =>
      isTerminal(from) ||
      (!seen.has(from) && TRANSITIONS[from].some((to) => ends(to, new Set([...seen, from]))));
    for (const state of STATES) expect([state, ends(state)]).toEqual([state, true]);
  });

  it('never leads back, once a tenant may have been frozen', () => {
    for (const from of STATES.filter(hasBegun)) {
      for (const to of TRANSITIONS[from]) expect(STATES.indexOf(to)).toBeGreaterThan(STATES.indexOf(from));
    }
  });

  it('has no way round the approval', () => {
    const walks = fc.check(
      fc.property(fc.array(fc.nat(), { maxLength: 40 }), (choices) => {
        const path: ErasureState[] = ['received'];
        for (const choice of choices) {
          const next = TRANSITIONS[path.at(-1) ?? 'received'];
          const to = next[choice % Math.max(next.length, 1)];
          if (to !== undefined) path.push(to);
        }
        const begun = path.findIndex(hasBegun);
        return begun === -1 || path[begun - 1] === 'approved';
      }),
    );
    expect(walks.counterexample).toBeNull();
  });

  it('knows no other moves', () => {
    expect(canMove('received', 'approved')).toBe(false);
    expect(canMove('received', 'planned')).toBe(true);
    expect(STATES.filter(isRunnable)).toEqual([
      'approved',
      'frozen',
      'draining',
      'grace',
      'purging',
      'shredding',
      'verifying',
    ]);
    expect(STATES.filter(isTerminal)).toEqual(['completed', 'completed_with_retention']);
  });
});

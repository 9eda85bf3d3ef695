import { eraseRun, erasureScope, type Checkpoint, type Eraser, type ErasureScope } from '@tenantkit/core';
import { z } from 'zod';
import { added, controlOf, keptOf } from './erase-sum.ts';
import type { KnownSilo, SiloClients } from './silo-clients.ts';

/**
 * Erases where a tenant is, and in the pool as well: a move may have left jobs there, and its name stands there.
 *
 * @param pool - the eraser of the shared Redis, beside that of a silo
 * @param alone - the same, for a tenant that is nowhere else
 * @param inSilo - makes the eraser of another one
 */
export function eraserOfPlaces(
  pool: Eraser,
  alone: Eraser,
  inSilo: (silo: KnownSilo) => Eraser,
  silos: SiloClients,
): Eraser {
  const made = new Map<KnownSilo, Eraser>();
  const eraserOf = (silo: KnownSilo): Eraser => {
    const known = made.get(silo) ?? inSilo(silo);
    made.set(silo, known);
    return known;
  };
  /** The silo first: as long as its tenant's name stands in the pool, it is found again. */
  const everywhere = async <T>(
    operation: string,
    scope: ErasureScope,
    call: (eraser: Eraser, at: number) => Promise<T>,
  ): Promise<readonly T[]> => {
    const { tenant } = erasureScope('queue', `queueEraser.${operation}`, scope);
    const silo = silos.find(tenant);
    const leave = silo?.use();
    try {
      if (silo === undefined) return [await call(alone, 0)];
      return [await call(eraserOf(silo), 1), await call(pool, 0)];
    } finally {
      leave?.();
    }
  };
  return {
    store: pool.store,
    subjects: pool.subjects,
    async plan(scope) {
      const plans = await everywhere('plan', scope, (eraser) => eraser.plan(scope));
      const notes = plans.flatMap((plan) => plan.notes ?? []);
      return {
        store: pool.store,
        items: added(plans.map(({ items }) => items)),
        kept: keptOf(plans.map(({ kept }) => kept)),
        ...(notes.length === 0 ? {} : { notes: [...new Set(notes)] }),
      };
    },
    async erase(scope, given) {
      const run = eraseRun('queue', 'queueEraser.erase', given);
      const part = await partsOf(run.checkpoint);
      let before = 0;
      const outcomes = await everywhere('erase', scope, async (eraser, at) => {
        let done = 0;
        const outcome = await eraser.erase(scope, {
          signal: run.signal,
          checkpoint: part(at),
          progress(step) {
            ({ done } = step);
            run.progress({ ...step, done: before + done });
          },
        });
        before += done;
        return outcome;
      });
      const erased = added(outcomes.map((outcome) => outcome.erased));
      return { store: pool.store, erased, kept: keptOf(outcomes.map(({ kept }) => kept)) };
    },
    async verify(scope) {
      const found = await everywhere('verify', scope, (eraser) => eraser.verify(scope));
      return {
        store: pool.store,
        remaining: added(found.map(({ remaining }) => remaining)),
        kept: keptOf(found.map(({ kept }) => kept)),
        control: controlOf(
          found.map(({ control }) => control),
          'places',
        ),
      };
    },
  };
}

/** Where each place keeps how far it is: 0 is the pool, 1 the silo. */
async function partsOf(checkpoint: Checkpoint): Promise<(at: number) => Checkpoint> {
  const saved = await checkpoint.load();
  const parts: (string | null)[] = saved === undefined ? [] : savedParts.parse(JSON.parse(saved));
  return (at) => ({
    load: async () => parts[at] ?? undefined,
    async save(text) {
      parts[at] = text;
      await checkpoint.save(JSON.stringify(Array.from(parts, (part) => part ?? null)));
    },
  });
}

const savedParts = z.array(z.string().nullable()).max(2);

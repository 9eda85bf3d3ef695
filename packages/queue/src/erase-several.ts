import { eraseRun, erasureScope, type Checkpoint, type Eraser, type ErasureScope } from '@tenantkit/core';
import { z } from 'zod';
import { added, controlOf, keptOf } from './erase-sum.ts';

/**
 * The eraser of several queues, each of which has an eraser with its own Redis, keys, prefix, names and places: one
 * after the other, under one name.
 *
 * @param erasers - by the name of the queue
 */
export function eraserOfSeveral(store: string, erasers: ReadonlyMap<string, Eraser>): Eraser {
  const eachOf = async <T>(call: (eraser: Eraser, queue: string) => Promise<T>): Promise<readonly T[]> => {
    const answers: T[] = [];
    for (const [queue, eraser] of erasers) answers.push(await call(eraser, queue));
    return answers;
  };
  // A copy: changed meanwhile, what is erased would be another person in the next queue.
  const copyOf = (scope: ErasureScope, operation: string): ErasureScope =>
    erasureScope('queue', `queueEraser.${operation}`, scope);
  return {
    store,
    // A Queue has its keys.
    subjects: 'supported',
    async plan(given) {
      const scope = copyOf(given, 'plan');
      const plans = await eachOf((eraser) => eraser.plan(scope));
      const notes = new Set(plans.flatMap((plan) => plan.notes ?? []));
      return {
        store,
        items: added(plans.map(({ items }) => items)),
        kept: keptOf(plans.map(({ kept }) => kept)),
        ...(notes.size === 0 ? {} : { notes: [...notes] }),
      };
    },
    async erase(given, options) {
      const run = eraseRun('queue', 'queueEraser.erase', options);
      const scope = copyOf(given, 'erase');
      const part = await partsOf(run.checkpoint);
      let before = 0;
      const outcomes = await eachOf(async (eraser, queue) => {
        let done = 0;
        const outcome = await eraser.erase(scope, {
          signal: run.signal,
          checkpoint: part(queue),
          progress(step) {
            ({ done } = step);
            run.progress({ ...step, done: before + done });
          },
        });
        before += done;
        return outcome;
      });
      return {
        store,
        erased: added(outcomes.map(({ erased }) => erased)),
        kept: keptOf(outcomes.map(({ kept }) => kept)),
      };
    },
    async verify(given) {
      const scope = copyOf(given, 'verify');
      const found = await eachOf((eraser) => eraser.verify(scope));
      return {
        store,
        remaining: added(found.map(({ remaining }) => remaining)),
        kept: keptOf(found.map(({ kept }) => kept)),
        control: controlOf(
          found.map(({ control }) => control),
          'queues',
        ),
      };
    },
  };
}

const savedParts = z.array(z.tuple([z.string(), z.string()]));

/** Where each queue keeps how far it is: by name, since another version of the service may have other queues. */
async function partsOf(checkpoint: Checkpoint): Promise<(queue: string) => Checkpoint> {
  const saved = await checkpoint.load();
  const parts = new Map(saved === undefined ? [] : savedParts.parse(JSON.parse(saved)));
  return (queue) => ({
    load: async () => parts.get(queue),
    async save(text) {
      parts.set(queue, text);
      await checkpoint.save(JSON.stringify([...parts]));
    },
  });
}

import type { EraseRun } from '@tenantkit/core';

/** What the orchestrator gives an eraser, and what it has heard from it. */
export interface Run extends EraseRun {
  saved: string | undefined;
  readonly steps: number[];
}

export function run(more: Partial<Run> = {}): Run {
  const made: Run = {
    signal: new AbortController().signal,
    saved: undefined,
    steps: [],
    checkpoint: {
      load: () => Promise.resolve(made.saved),
      save: (state) => {
        made.saved = state;
        return Promise.resolve();
      },
    },
    progress: ({ done }) => made.steps.push(done),
    ...more,
  };
  return made;
}

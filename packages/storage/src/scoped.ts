import { runInScope, type currentScope } from '@tenantkit/core';

/**
 * What `inner` gives, step by step in the scope that is given: a generator runs in the context of whoever asks for the
 * next item, who may be inside of a tenant by then.
 */
export async function* scoped<T>(
  scope: ReturnType<typeof currentScope>,
  inner: AsyncGenerator<T, void, undefined>,
): AsyncGenerator<T, void, undefined> {
  try {
    for (;;) {
      const step = await runInScope(scope, () => inner.next());
      if (step.done === true) return;
      yield step.value;
    }
  } finally {
    await runInScope(scope, () => inner.return());
  }
}

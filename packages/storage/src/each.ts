import pMap from 'p-map';

/** How many single requests are under way at once. */
const PARALLEL = 16;

/**
 * Runs `fn` for every item, a bounded number at a time, and asks for further items only as fast as they are worked
 * off. After an error none is begun any more, and it is thrown when the last one under way has ended: nothing goes on
 * behind the back of who was told that the work has failed.
 */
export async function each<T>(
  items: Iterable<T> | AsyncIterable<T>,
  fn: (item: T) => Promise<unknown>,
  concurrency: number = PARALLEL,
): Promise<void> {
  let failed: { readonly error: unknown } | undefined;
  // An error of the items is caught here: with several items asked for, p-map may hear that there are no more of them
  // before it hears of the error, and then passes over it. A listing that broke off would be one that has ended.
  async function* wanted(): AsyncGenerator<T, void, undefined> {
    try {
      for await (const item of items) {
        if (failed !== undefined) return;
        yield item;
      }
    } catch (error) {
      failed ??= { error };
    }
  }
  await pMap(
    wanted(),
    async (item) => {
      try {
        if (failed === undefined) await fn(item);
      } catch (error) {
        failed ??= { error };
      }
    },
    { concurrency },
  );
  if (failed !== undefined) throw failed.error;
}

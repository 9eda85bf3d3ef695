/**
 * What a Cluster says about keys of several slots, by the server or by ioredis for a pipeline: they say what is
 * wrong, and not what to do about it.
 */
const SEVERAL_SLOTS = /^(?:CROSSSLOT |All (?:the )?keys in (?:a|the) pipeline )/;

const ONE_SLOT =
  'Names with one hash tag are in one slot, such as {user:1}:name and {user:1}:mail; ' +
  'with tenant: { hashTag: true } in the options of the client all keys of a tenant are.';

/** Says in an error what to do, where it is known. Changes the error, and gives it back. */
export function explain<E>(error: E): E {
  if (!(error instanceof Error) || !SEVERAL_SLOTS.test(error.message)) return error;
  const { message } = error;
  // It may come here once more, with the whole of its pipeline.
  if (message.endsWith(ONE_SLOT)) return error;
  const explained = `${message.replace(/\.?$/, '.')} ${ONE_SLOT}`;
  error.message = explained;
  if (error.stack !== undefined) error.stack = error.stack.replace(message, () => explained);
  return error;
}

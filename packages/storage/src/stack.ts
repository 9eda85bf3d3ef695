import type { S3Client as RawS3Client } from '@aws-sdk/client-s3';

/** The middleware stack of the raw client. */
export type Stack = RawS3Client['middlewareStack'];

/**
 * One step of a resolved stack, seen from outside of it. The SDK types each step by the command's own input and
 * output; what stands around all commands can only know that there is an `input`, a `request` or an `output`.
 */
export type Step = (args: Readonly<Record<string, unknown>>) => Promise<Readonly<Record<string, unknown>>>;

/** Runs one command: `resolve` builds the stack's chain in front of the last step that it is given. */
export type Around = (resolve: (last: Step) => Step, last: Step, commandName: string) => Step;

/** The SDK's stack without its types: they are generic per command, which nothing here can name. */
type Loose = {
  readonly [Method in keyof Stack]: Method extends 'resolve'
    ? (last: Step, context: { readonly commandName?: string }) => Step
    : (...args: never[]) => unknown;
};

/**
 * A middleware stack that cannot be resolved without `around`: it stands outside of every middleware and right in
 * front of the request handler, in no list, so that no name, tag, reference, priority or relation can remove,
 * replace or overtake it. Its clones keep it: `getSignedUrl` works on a clone.
 */
export function guardStack(inner: Stack, around: Around): Stack {
  const stack = inner as unknown as Loose;
  const guarded = {
    add: inner.add.bind(inner),
    addRelativeTo: inner.addRelativeTo.bind(inner),
    use: (plugin: { applyToStack: (target: unknown) => void }) => plugin.applyToStack(guarded),
    clone: () => guardStack(inner.clone(), around),
    remove: inner.remove.bind(inner),
    removeByTag: inner.removeByTag.bind(inner),
    concat: (from: Stack) => guardStack(inner.concat(from), around),
    applyToStack: inner.applyToStack.bind(inner),
    identify: inner.identify.bind(inner),
    identifyOnResolve: inner.identifyOnResolve.bind(inner),
    resolve: (last, context) => {
      // Read here, before any middleware has seen the context.
      const commandName = context.commandName ?? 'an unnamed command';
      return around((end) => stack.resolve(end, context), last, commandName);
    },
  } satisfies Loose;
  return Object.freeze(guarded) as unknown as Stack;
}

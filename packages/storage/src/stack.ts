import type { S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { refusal, refuse } from '@tenantkit/core';
import { outsideSignal } from './running.ts';

/** The middleware stack of the raw client. */
export type Stack = RawS3Client['middlewareStack'];

/**
 * One step of a resolved stack, seen from outside of it. The SDK types each step by the command's own input and
 * output; what stands around all commands can only know that there is an `input`, a `request` or an `output`.
 */
export type Step = (args: Readonly<Record<string, unknown>>) => Promise<Readonly<Record<string, unknown>>>;

/** Runs one command: `resolve` builds the stack's chain in front of the last step that it is given. */
export type Around = (
  resolve: (last: Step) => Step,
  last: Step,
  commandName: string,
  signal?: AbortSignal,
) => Step;

/** What the SDK tells every middleware of a call. */
interface Context {
  readonly commandName?: string;
  readonly [SMITHY]?: { readonly abortSignal?: AbortSignal };
}
const SMITHY = '__smithy_context';

/** The SDK's stack without its types: they are generic per command, which nothing here can name. */
type Loose = {
  readonly [Method in keyof Stack]: Method extends 'resolve'
    ? (last: Step, context: Context) => Step
    : (...args: never[]) => unknown;
};

/**
 * A middleware stack that cannot be resolved without `around`: it stands outside of every middleware and right in
 * front of the request handler, in no list, so that no name, tag, reference, priority or relation can remove,
 * replace or overtake it. Its clones keep it: `getSignedUrl` works on a clone.
 */
export function guardStack(inner: Stack, around: Around): Stack {
  // Not frozen: tracing wraps its methods. What bypasses the guard that way has nothing that the handler would send.
  return new GuardedStack(inner, around) as unknown as Stack;
}

// A class rather than an object of closures: every command makes one more of them.
class GuardedStack implements Loose {
  readonly #inner: Stack;
  readonly #around: Around;

  static {
    Object.freeze(this.prototype);
  }

  constructor(inner: Stack, around: Around) {
    this.#inner = inner;
    this.#around = around;
  }

  add(...args: Parameters<Stack['add']>): void {
    this.#inner.add(...args);
  }

  addRelativeTo(...args: Parameters<Stack['addRelativeTo']>): void {
    this.#inner.addRelativeTo(...args);
  }

  use(plugin: { applyToStack: (target: unknown) => void }): void {
    plugin.applyToStack(this);
  }

  clone(): Stack {
    return guardStack(this.#inner.clone(), this.#around);
  }

  remove(...args: Parameters<Stack['remove']>): boolean {
    return this.#inner.remove(...args);
  }

  removeByTag(...args: Parameters<Stack['removeByTag']>): boolean {
    return this.#inner.removeByTag(...args);
  }

  concat(from: Stack): Stack {
    return guardStack(this.#inner.concat(from), this.#around);
  }

  // What it would fill is a stack of the SDK's own, and has no guard.
  applyToStack(): never {
    throw refusal('storage', 'applyToStack', UNGUARDED);
  }

  identify(): string[] {
    return this.#inner.identify();
  }

  identifyOnResolve(...args: Parameters<Stack['identifyOnResolve']>): boolean {
    return this.#inner.identifyOnResolve(...args);
  }

  resolve(last: Step, context: Context): Step {
    const inner = this.#inner as unknown as Loose;
    // Read here, before any middleware has seen the context.
    const commandName = context.commandName ?? 'an unnamed command';
    const signal = context[SMITHY]?.abortSignal;
    return this.#around((end) => inner.resolve(end, withoutSignal(context)), last, commandName, signal);
  }
}

const UNGUARDED = refuse(
  'the steps of this stack would stand in another one without their guard',
  'Use clone or concat, which keep it.',
);

function withoutSignal(context: Context): Context {
  const { [SMITHY]: inner } = context;
  if (inner?.abortSignal === undefined) return context;
  return { ...context, [SMITHY]: { ...inner, abortSignal: outsideSignal(inner.abortSignal) as AbortSignal } };
}

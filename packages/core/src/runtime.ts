import { ConfigError } from './errors.ts';

/**
 * Asks for what Node has had since 22 and Node 20 has not. Asked when this package is loaded: without it the first
 * calls work, and one in the midst of a service ends with `Promise.withResolvers is not a function`.
 *
 * By what is there, and not by a number: other runtimes call themselves what they like.
 *
 * @param runtime - what there is, by default this runtime
 * @throws {@link ConfigError} in a runtime that is too old
 */
export function assertRuntime(runtime: Runtime = { promise: Promise, version: versionOf() }): void {
  if (typeof Reflect.get(runtime.promise, 'withResolvers') === 'function') return;
  const { version } = runtime;
  throw new ConfigError({
    surface: 'core',
    operation: 'import',
    problem: `Node 22.12 or newer is needed${version === undefined ? '' : `, and this is ${version}`}`,
    hint: 'Run the service with a newer Node.',
  });
}

/** What {@link assertRuntime} looks at. */
export interface Runtime {
  readonly promise: object;
  readonly version: string | undefined;
}

function versionOf(): string | undefined {
  return typeof process === 'undefined' ? undefined : process.versions.node;
}

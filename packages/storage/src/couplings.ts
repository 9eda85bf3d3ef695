import { HeadObjectCommand, type S3Client as RawS3Client } from '@aws-sdk/client-s3';
import { ConfigError } from '@tenantkit/core';
import { guardStack, type Step } from './stack.ts';

/** A class of commands, as far as its chain is built. */
export type CommandClass = new (input: { readonly Bucket: string; readonly Key: string }) => {
  resolveMiddleware: (...args: never[]) => unknown;
};

let checked = false;

/**
 * Looks, once, whether the installed SDK still asks a client's stack for the chain of a command, and ends that chain
 * in the client's request handler. Neither is documented, and the guard stands on both: with an SDK that does it
 * another way the client must not be made.
 *
 * @throws ConfigError when it does not
 */
export function checkCouplings(client: RawS3Client): void {
  if (checked) return;
  checkChain(client, HeadObjectCommand);
  checked = true;
}

/** {@link checkCouplings} with the chain of one class. Nothing is sent. */
export function checkChain(client: RawS3Client, Command: CommandClass): void {
  const chain: Step = () => Promise.resolve({});
  const request = {};
  let last: Step | undefined;
  let handled: unknown;
  let named: string | undefined;
  const probe = guardStack(client.middlewareStack.clone(), (_resolve, end, name) => {
    last = end;
    named = name;
    return chain;
  });
  const requestHandler = {
    handle: (given: unknown) => {
      handled = given;
      return Promise.resolve({ response: {} });
    },
  };
  const command = new Command({ Bucket: 'uploads', Key: 'x' });
  const resolve = command.resolveMiddleware.bind(command) as (...args: unknown[]) => unknown;
  const built = resolve(probe, { ...client.config, requestHandler }, {});
  if (built !== chain || named !== 'HeadObjectCommand')
    throw unsupported('does not build on the stack of its client');
  void last?.({ request });
  if (handled !== request) throw unsupported('does not end in the request handler of its client');
}

function unsupported(problem: string): ConfigError {
  return new ConfigError({
    surface: 'storage',
    operation: 'sdk',
    problem: `the chain of a command of the installed @aws-sdk/client-s3 ${problem}`,
    hint: 'Install @aws-sdk/client-s3 3.1169, or a newer @tenantkit/storage.',
  });
}

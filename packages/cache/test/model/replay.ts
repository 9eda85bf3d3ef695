import type { Redis as Raw } from 'ioredis';
import { Command } from 'ioredis';
import type { Call, Given } from './grammar.ts';

/** How a caller may call a command. */
export const FORMS = [
  'method',
  'buffer',
  'call',
  'callBuffer',
  'sendCommand',
  'pipeline',
  'batch',
  'multi',
] as const;

/** Some commands of one tenant, called together in one form. */
export interface Step {
  readonly tenant: string;
  readonly form: (typeof FORMS)[number];
  readonly calls: readonly Call[];
}

/** What came of one command: its reply, or its error. */
export type Outcome = { readonly reply: unknown } | { readonly error: Error & { readonly code?: string } };

type Methods = Readonly<Record<string, (...args: Given[]) => Promise<unknown>>>;
type Chain = { readonly exec: () => Promise<[Error | null, unknown][] | null> } & Readonly<
  Record<string, (...args: unknown[]) => unknown>
>;

/** Calls the commands of one step on a client, and tells what came of each, in their order. */
export function play(client: Raw, { form, calls }: Step): Promise<Outcome[]> {
  if (form === 'pipeline' || form === 'multi') return playChain(client, form, calls);
  if (form === 'batch')
    return results(client.pipeline(calls.map(({ name, args }) => [name, ...args])), calls.length);
  return Promise.all(calls.map((call) => outcome(() => alone(client, form, call))));
}

function alone(client: Raw, form: Step['form'], { name, args }: Call): Promise<unknown> {
  const methods = client as unknown as Methods;
  const method = form === 'buffer' ? `${name}Buffer` : name;
  if ((form === 'method' || form === 'buffer') && typeof methods[method] === 'function')
    return methods[method](...args);
  if (form === 'sendCommand') {
    // In a letter case of its own, which is no other command.
    const command = new Command(name.toUpperCase(), [...args], { replyEncoding: 'utf8' });
    client.sendCommand(command);
    return command.promise;
  }
  return form === 'callBuffer' || form === 'buffer'
    ? client.callBuffer(name, ...args)
    : client.call(name, ...args);
}

function playChain(client: Raw, form: 'pipeline' | 'multi', calls: readonly Call[]): Promise<Outcome[]> {
  const chain = client[form]() as unknown as Chain;
  for (const { name, args } of calls) {
    const method = typeof chain[name] === 'function' ? chain[name] : undefined;
    if (method === undefined) chain['call']?.(name, ...args);
    else method.apply(chain, [...args]);
  }
  return results(chain, calls.length);
}

async function results(chain: object, count: number): Promise<Outcome[]> {
  const all = await outcome(() => (chain as Chain).exec());
  if ('error' in all) return Array.from({ length: count }, () => all);
  const replies = all.reply as [Error | null, unknown][];
  return replies.map(([error, reply]) => (error === null ? { reply } : { error }));
}

async function outcome(call: () => Promise<unknown>): Promise<Outcome> {
  try {
    return { reply: await call() };
  } catch (error) {
    if (error instanceof Error) return { error };
    throw error;
  }
}

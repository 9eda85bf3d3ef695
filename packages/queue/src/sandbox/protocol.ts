import type { ChildCommand, JobJsonSandbox, ParentCommand, SandboxedJob } from 'bullmq';
import type { TenantContext } from '@tenantkit/core';
import type { PlainError } from './errors.ts';

// BullMQ's ChildPool starts and stops a child with messages of its own. Their numbers are spelled out and checked by
// their types: loading BullMQ in every child only to read them would cost more than all else that a child loads.
// oxlint-disable typescript/no-unsafe-enum-assignment -- a number that is not the enum's does not compile
/** BullMQ's first message: the file of the processor, as a URL. */
export const INIT = 0 satisfies ChildCommand.Init;
/** BullMQ's way to say SIGTERM to a thread. */
export const STOP = 2 satisfies ChildCommand.Stop;
export const INIT_COMPLETED = 4 satisfies ParentCommand.InitCompleted;
export const INIT_FAILED = 3 satisfies ParentCommand.InitFailed;
// oxlint-enable typescript/no-unsafe-enum-assignment

type MethodOf<T> = { [K in keyof T]-?: T[K] extends (...args: never[]) => unknown ? K : never }[keyof T];

/**
 * What a processor in a child may call on its job: the functions that BullMQ gives such a job. Each is called on the
 * guarded Job in the worker's process, whose table decides about it.
 */
const METHODS = {
  updateProgress: true,
  log: true,
  updateData: true,
  moveToDelayed: true,
  moveToWait: true,
  moveToWaitingChildren: true,
  getChildrenValues: true,
  getIgnoredChildrenFailures: true,
  getDependenciesCount: true,
  // BullMQ's types leave it out.
  getDependencies: true,
} satisfies Record<MethodOf<SandboxedJob<unknown, unknown>> | 'getDependencies', true>;

/** The name of one of {@link METHODS}. */
export type Method = keyof typeof METHODS;

export const METHOD_NAMES = Object.keys(METHODS) as readonly Method[];

/** Whether a message names a method that a child may call. */
export function isMethod(name: unknown): name is Method {
  return typeof name === 'string' && Object.hasOwn(METHODS, name);
}

/** A job that starts. `run` is random: the child names it in all that it says about the job. */
export interface Start {
  readonly cmd: 'start';
  readonly run: string;
  readonly tenant: TenantContext;
  readonly job: JobJsonSandbox;
  readonly token: string | undefined;
}

/** What the worker tells a child. */
export type ToChild =
  | { readonly cmd: typeof INIT; readonly value: string }
  | { readonly cmd: typeof STOP }
  | Start
  | { readonly cmd: 'cancel'; readonly reason: Reason }
  | { readonly cmd: 'answer'; readonly call: number; readonly value?: unknown; readonly error?: PlainError };

/** Why a job is cancelled: what JSON can say of it. */
export interface Reason {
  readonly value?: unknown;
  readonly error?: PlainError;
}

/** What a child tells of the job that it runs. */
export type FromChild =
  | { readonly run: string; readonly type: 'started' }
  | ({
      readonly run: string;
      readonly type: 'call';
      readonly call: number;
      readonly method: string;
    } & Arguments)
  | { readonly run: string; readonly type: 'completed'; readonly value: unknown }
  | { readonly run: string; readonly type: 'failed'; readonly error: PlainError };

/** What BullMQ's pool waits for when it starts a child. */
export type LifeMessage =
  | { readonly cmd: typeof INIT_COMPLETED }
  | { readonly cmd: typeof INIT_FAILED; readonly err: PlainError['own'] };

/** The arguments of a call. Not a list: JSON would turn each that is `undefined` into `null`. */
export interface Arguments {
  readonly count: number;
  readonly args: Readonly<Record<string, unknown>>;
}

export function packArguments(args: readonly unknown[]): Arguments {
  return { count: args.length, args: Object.fromEntries(args.entries()) };
}

/** At most as many as any of the methods takes. */
const MOST_ARGUMENTS = 8;

export function unpackArguments({ count, args }: Arguments): readonly unknown[] {
  return Array.from({ length: Math.min(count, MOST_ARGUMENTS) }, (_, index) => args[index]);
}

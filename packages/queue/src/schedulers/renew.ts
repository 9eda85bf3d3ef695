import { SignatureError } from '@tenantkit/core';
import { HEADER, isSignedWith, signHeader } from '../header.ts';
import type { Lane } from '../lanes/lane.ts';
import { defineScripts } from '../lanes/scripts.ts';
import { judgeTemplate, type StoreContext } from '../store.ts';
import type { JobHash } from '../verify.ts';
import { schedulerBinding } from './binding.ts';
import type { Template } from './template.ts';

/**
 * Replaces the options of a scheduler, if they are those that were read: one that was upserted meanwhile has others, and
 * one that was removed has none. KEYS: the scheduler. ARGV: options that were read, options to be stored.
 */
const RENEW = `
if redis.call('HGET', KEYS[1], 'opts') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'opts', ARGV[2])
return 1`;

const COMMANDS = {
  renew: { name: 'tenantkit:schedulers:renew:1', numberOfKeys: 1, lua: RENEW },
} as const;

/** A scheduler from which the next job may be made. */
export interface Current {
  readonly hash: JobHash;
  readonly options: Template['options'];
}

/**
 * A scheduler as it is stored, signed with the key that signs new jobs: one that goes on for years would else hold up the
 * key that it was made with, which nobody could ever take away. Who and when stay as they were signed. Where the keys
 * cannot sign, it stays as it is.
 *
 * @returns `undefined` for one that is gone, or does not verify: nobody's forgery is signed
 */
export async function currentTemplate(
  { context, lane }: { readonly context: StoreContext; readonly lane: Lane },
  id: string,
): Promise<Current | undefined> {
  for (;;) {
    const hash: JobHash = await lane.getJobSchedulerData(id);
    if (Object.keys(hash).length === 0) return undefined;
    const template = judgeTemplate({ context, lane: lane.tenant }, hash, id, 'schedule');
    if (template instanceof SignatureError) return undefined;
    const options = renewed(context, template, hash, id);
    if (options === undefined) return { hash, options: template.options };
    if (await replace(lane, id, hash['opts'] ?? '', JSON.stringify(options))) return { hash, options };
  }
}

/** The options with a header of the current key; `undefined` if that is the one they have, or it cannot sign. */
function renewed(
  context: StoreContext,
  { claims, options }: Template,
  { name = '', data = '{}' }: JobHash,
  id: string,
): Template['options'] | undefined {
  const { ring } = context;
  const { kid, sign } = ring.current;
  if (sign === undefined || isSignedWith(String(options[HEADER]), kid)) return undefined;
  const header = signHeader(ring, claims, schedulerBinding(context, id, { name, options, data }));
  return { ...options, [HEADER]: header };
}

async function replace(lane: Lane, id: string, read: string, options: string): Promise<boolean> {
  const client = await lane.client;
  await defineScripts(client, COMMANDS);
  const key = lane.toKey(`repeat:${id}`);
  return (await client.runCommand(COMMANDS.renew.name, [key, read, options])) === 1;
}

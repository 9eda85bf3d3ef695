import { createHash } from 'node:crypto';
import { ownEntry } from './entry.ts';
import type { TenantNames } from './names.ts';
import { subjectName, subjectStart } from './registry-names.ts';
import type { SendEntry } from './registry.ts';

// Looked at after so many new entries, and how many are looked at per new entry at most. With two, and random ones,
// the entries without a key are at most as many as those with one, and what was written within DOOMED.
const EVERY = 32;
const PER_ENTRY = 2;

// A look takes this many at a time, and goes on while at least so many of them were of use: most registries hold
// nothing to remove, and two looks per entry would take the server longer than the writes themselves. Where half of
// the entries have no key, all but one portion in four thousand goes on.
const PORTION = 16;
const ENOUGH = 2;

// How long, in seconds, an entry has to be without its key before it goes. Longer than any client may take it for
// written (BELIEF), and than a command may be on its way.
const DOOMED = 15;

/**
 * Looks at some entries of a registry, and removes those whose key has been gone for long.
 *
 * It takes two looks. The first gives an entry without a key a negative score, by the clock of the server; whoever
 * writes the entry anew makes it positive again. The second removes what has been negative for long enough that
 * every client would by now write the entry anew before the key. Scores in the future belong to commands that wait
 * in the server. A script, since between a look and a removal nobody may write the key.
 */
const SCRIPT = `
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local base = 1000000000000000
local function there(entry)
  local rest = string.sub(entry, 2)
  if string.sub(entry, 1, 1) == 's' then rest = ARGV[2] .. rest .. ':' .. ARGV[1] else rest = ARGV[1] .. rest end
  return redis.call('EXISTS', rest) == 1
end
local old = redis.call('ZRANGE', KEYS[1], '-inf', now - ARGV[4] * 1000 - base, 'BYSCORE', 'LIMIT', 0, ARGV[3])
for _, entry in ipairs(old) do
  if there(entry) then redis.call('ZADD', KEYS[1], now, entry) else redis.call('ZREM', KEYS[1], entry) end
end
local subjects = {}
local looked = 0
repeat
  local some = redis.call('ZRANDMEMBER', KEYS[1], -${PORTION}, 'WITHSCORES')
  local useful = 0
  for at = 1, #some, 2 do
    local entry = some[at]
    local score = tonumber(some[at + 1])
    if there(entry) then
      if score < 0 then redis.call('ZADD', KEYS[1], now, entry) end
      if string.sub(entry, 1, 1) == 's' then
        subjects[#subjects + 1] = string.sub(entry, 2)
        useful = useful + 1
      end
    elseif score >= 0 and score <= now then
      redis.call('ZADD', KEYS[1], 'XX', now - base, entry)
      useful = useful + 1
    end
  end
  looked = looked + ${PORTION}
until useful < ${ENOUGH} or looked >= tonumber(ARGV[3])
return subjects
`;
const SHA = createHash('sha1').update(SCRIPT).digest('hex');

/** Keeps registries from growing with keys that have expired or were deleted. */
export class Trimmer {
  #entries = 0;

  /** @param count - how many entries were written to the registry `name` */
  wrote(send: SendEntry, names: TenantNames, name: string, tag: string | undefined, count: number): void {
    this.#entries += count;
    if (this.#entries < EVERY) return;
    const look = Math.min(this.#entries, 4 * EVERY) * PER_ENTRY;
    this.#entries = 0;
    trim(send, names, name, tag, look, (subjects) => follow(send, names, tag, subjects));
  }
}

// The set of a person who is written about no more is looked at from the tenant's registry.
function follow(
  send: SendEntry,
  names: TenantNames,
  tag: string | undefined,
  subjects: readonly string[],
): void {
  for (const subject of new Set(subjects))
    trim(send, names, subjectName(names.prefix, subject, tag), tag, EVERY, ignore);
}

/** Takes one look at `count` entries of a registry. @param heard - told the subjects that were among them */
function trim(
  send: SendEntry,
  names: TenantNames,
  name: string,
  tag: string | undefined,
  count: number,
  heard: (subjects: readonly string[]) => void,
): void {
  const rest = ['1', name, names.prefix, subjectStart(tag), `${count}`, `${DOOMED}`];
  const reply = (subjects: unknown): void => heard(Array.isArray(subjects) ? subjects.map(String) : []);
  send(
    ownEntry(names, 'evalsha', [SHA, ...rest], {
      reply,
      error(cause) {
        // Entries too many are wrong nowhere: an eraser passes over them, and the auditor counts them.
        if (cause.message.startsWith('NOSCRIPT'))
          send(ownEntry(names, 'eval', [SCRIPT, ...rest], { reply, error: ignore }));
      },
    }),
  );
}

function ignore(): void {
  // Said where it is given.
}

import { constants } from 'node:buffer';
import { types } from 'node:util';
import { FRAME, type Argument } from './keyspec.ts';

/**
 * What one command may be given together, in bytes, or in characters of texts: what fits into a text, less the prefix
 * of a tenant that goes in front of a key. With a key that fits into none the error of a server could not be read, and
 * one that is longer than Redis takes ends the connection of all tenants.
 */
export const LONGEST = constants.MAX_STRING_LENGTH - 65_536;

/**
 * The arguments as texts and Buffers that nobody else holds. The caller's own Buffers could answer the check with
 * one `length` or `toString` and ioredis with another, which puts a second command on the connection of all
 * tenants; and they could be changed while they wait in a pipeline or for a connection.
 *
 * ioredis throws over anything that is neither text nor Buffer when it writes a command, in the middle of a
 * pipeline: those before it then wait for replies that never come, and get those of later callers.
 *
 * @returns `undefined` when they cannot be written
 */
export function ownArguments(given: unknown): Argument[] | undefined {
  if (!Array.isArray(given)) return undefined;
  const count = given.length;
  // As long as needed: an array that grows has room for sixteen more, which every command would carry along.
  // oxlint-disable-next-line unicorn/no-new-array -- the length is a number
  const args = new Array<Argument>(count);
  let length = 0;
  for (let place = 0; place < count; place += 1) {
    const argument: unknown = given[place];
    const own = typeof argument === 'string' ? argument : copyOf(argument);
    if (own === undefined) return undefined;
    length += own.length + FRAME;
    args[place] = own;
  }
  return length < LONGEST ? args : undefined;
}

function copyOf(argument: unknown): Buffer | undefined {
  // By its internal slots: neither a Proxy nor an object that only has the prototype is one.
  if (!Buffer.isBuffer(argument) || !types.isUint8Array(argument)) return undefined;
  try {
    // Reads the slots of a typed array, none of its properties.
    const { buffer } = new Uint8Array(argument);
    return Buffer.from(buffer);
  } catch {
    // Its memory was given away: there is nothing to send.
    return undefined;
  }
}

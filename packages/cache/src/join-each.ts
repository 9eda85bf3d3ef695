import type { Redis as RawRedis } from 'ioredis';
import type { Kind } from './channels.ts';

/** What has become of the names of one command. */
interface Outcome {
  readonly kind: Kind;
  readonly joined: readonly Buffer[];
  readonly refused: readonly Buffer[];
  readonly error?: Error;
}

/**
 * Subscribes to names of several tenants. The server refuses a command as a whole for the sake of one name, which
 * would silence the others: each is tried by itself then.
 *
 * @param wants - whether somebody still wants a name when it is tried by itself
 * @returns neither joined nor refused when the connection has gone again, since the next one does it. Never rejects.
 */
export async function joinEach(
  connection: RawRedis,
  kind: Kind,
  names: readonly Buffer[],
  wants: (name: Buffer) => boolean,
): Promise<Outcome> {
  try {
    await connection.call(kind, ...names);
    return { kind, joined: names, refused: [] };
  } catch (cause) {
    const error = cause as Error;
    if (connection.status !== 'ready') return { kind, joined: [], refused: [] };
    // What was not answered in time is none the sooner by itself.
    if (names.length === 1 || error.name !== 'ReplyError') return { kind, joined: [], refused: names, error };
    const parts = await Promise.all(
      names.filter(wants).map((name) => joinEach(connection, kind, [name], wants)),
    );
    const told = parts.find((part) => part.error !== undefined)?.error;
    return {
      kind,
      joined: parts.flatMap(({ joined }) => joined),
      refused: parts.flatMap(({ refused }) => refused),
      ...(told === undefined ? {} : { error: told }),
    };
  }
}

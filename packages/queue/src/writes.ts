import { Socket } from 'node:net';
import { stamp } from './stamp.ts';

/**
 * How many commands leave in one write. More save little, and the server would stand still until the whole turn is
 * over: it is to work on the first ones while the next are made.
 */
const TOGETHER = 16;

/** How many commands each connection was given in this turn. */
const given = stamp<number>();

/**
 * Lets what is sent on a connection in one turn leave in few writes. Each write by itself is a call of the system,
 * which costs about as much as verifying a job: a worker that finishes fifty jobs in a turn would make fifty of them.
 * What is sent, and in which order, stays as it is.
 *
 * @param connection - of a client of ioredis; `undefined` while it has none, and of a cluster, which has several
 */
export function writeTogether(connection: unknown): void {
  if (!(connection instanceof Socket)) return;
  const count = given.get(connection) ?? 0;
  if (count === 0) {
    connection.cork();
    // After the promises of this turn, and before the next one begins.
    process.nextTick(release, connection);
  } else if (count % TOGETHER === 0) {
    connection.uncork();
    connection.cork();
  }
  given.set(connection, count + 1);
}

// A connection that was closed meanwhile drops what it holds, as it does with all that is not sent yet.
function release(connection: Socket): void {
  given.set(connection, 0);
  connection.uncork();
}

import { once } from 'node:events';
import { connect, createServer } from 'node:net';
import { inject } from 'vitest';

/**
 * Does something while no other test process does it, on the same server. Ceph 16 reads the policies of forms with a
 * parser that is not made for threads: of two forms at once it may refuse every later one, or end.
 *
 * Whoever listens has the turn, and the system ends it with its process; the others wait until a connection to it closes.
 */
export async function alone<T>(work: () => Promise<T>): Promise<T> {
  const name = `\0tenantkit-forms-${new URL(inject('servers').s3.endpoint).port}`;
  for (;;) {
    const turn = createServer();
    turn.listen(name);
    // oxlint-disable-next-line no-await-in-loop -- one turn after the other
    const taken = await once(turn, 'listening').then(
      () => false,
      () => true,
    );
    if (!taken) {
      const waiting = new Set<{ destroy: () => void }>();
      turn.on('connection', (socket) => void waiting.add(socket.on('error', () => undefined)));
      try {
        // oxlint-disable-next-line no-await-in-loop -- the last one
        return await work();
      } finally {
        turn.close();
        for (const socket of waiting) socket.destroy();
      }
    }
    const socket = connect(name).on('error', () => undefined);
    // oxlint-disable-next-line no-await-in-loop -- until it is over
    await new Promise((resolve) => void socket.resume().once('close', resolve));
  }
}

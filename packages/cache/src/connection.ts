import type { EventEmitter } from 'node:events';
import type { RedisOptions } from './client-options.ts';
import { endAsPlumbing } from './inner.ts';
import { noteLogin } from './login.ts';
import { rejectUnfulfilled } from './unfulfilled.ts';
import type { Wiring } from './wiring.ts';

/** A client with one connection. */
interface Connected {
  readonly options: RedisOptions;
  readonly stream: EventEmitter;
  readonly condition?: { auth?: unknown } | null;
}

/** Does what is ours to do when the connection of a client comes and goes. */
export function followConnection(client: Connected, wiring: Wiring): void {
  const isDropped = client.options.autoResendUnfulfilledCommands === false;
  wiring.onStatus((status) => {
    if (status === 'connect') endAsPlumbing(client.stream);
    noteLogin(client, status);
    if (status === 'close' && isDropped) rejectUnfulfilled(client);
  });
}

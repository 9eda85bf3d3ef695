import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';

/** How long a server that somebody else runs may take to answer. */
export const ANSWERS_WITHIN_MS = 5_000;

/**
 * Opens a connection, says something and gives the first answer.
 *
 * @param at - host, port, and whether to speak TLS from the first byte
 * @param words - what is sent
 * @throws Error without credentials in its message when nothing answers in time
 */
export function firstAnswer(
  { host, port, tls = false }: { host: string; port: number; tls?: boolean },
  words: string | Uint8Array,
  signal: AbortSignal,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const socket: Socket = tls ? connectTls({ host, port, servername: host }) : connectTcp({ host, port });
    const finish = (end: () => void): void => {
      clearTimeout(timer);
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      end();
    };
    const onAbort = (): void => finish(() => reject(signal.reason as Error));
    const timer = setTimeout(
      () => finish(() => reject(new Error(`no answer within ${ANSWERS_WITHIN_MS / 1000} s`))),
      ANSWERS_WITHIN_MS,
    );
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('error', (error) => finish(() => reject(error)));
    socket.once('close', () =>
      finish(() => reject(new Error('the connection was closed without an answer'))),
    );
    socket.once('data', (answer) => finish(() => resolve(answer)));
    socket.write(words);
  });
}

/** {@link call} for a server that should answer soon. */
export function fetchSoon(url: string, signal: AbortSignal): Promise<Response> {
  return call(url, { signal });
}

/**
 * `fetch` that gives up after a while.
 *
 * @param options - `credentialsOf`: a URL with user and password, which become a header; default `url` itself
 * @throws Error with the reason in words, without credentials
 */
export async function call(
  url: string,
  { method = 'GET', credentialsOf = url, within = ANSWERS_WITHIN_MS, signal }: CallOptions = {},
): Promise<Response> {
  const target = withoutUser(url);
  const { username, password } = new URL(credentialsOf);
  const credentials = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  const headers: Record<string, string> =
    username === '' ? {} : { authorization: `Basic ${Buffer.from(credentials).toString('base64')}` };
  const limit = AbortSignal.timeout(within);
  const either = signal === undefined ? limit : AbortSignal.any([signal, limit]);
  try {
    return await fetch(target, { method, headers, signal: either, redirect: 'manual' });
  } catch (error) {
    // `fetch failed` says nothing; the cause does.
    throw error instanceof TypeError && error.cause instanceof Error ? error.cause : error;
  }
}

interface CallOptions {
  readonly method?: string;
  readonly credentialsOf?: string;
  /** Milliseconds. */
  readonly within?: number;
  readonly signal?: AbortSignal;
}

/** `fetch` refuses a URL that holds a user. */
function withoutUser(url: string): URL {
  const target = new URL(url);
  target.username = '';
  target.password = '';
  return target;
}

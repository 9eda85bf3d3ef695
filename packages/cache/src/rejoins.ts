import { keyFor } from './holdings.ts';
import { PAUSE, type Heard } from './lines.ts';
import { asPlumbing } from './plumbing.ts';

/** What {@link Rejoins} asks of the lines of a cluster. */
interface Steps {
  join(names: readonly Buffer[]): Promise<unknown>;
  /** Looks for nodes and slots at once, and begins anew. */
  soon(): void;
  /** Begins anew with what is due. */
  again(): void;
}

interface Refused {
  readonly name: Buffer;
  readonly error: Error;
}

/**
 * Sharded channels that have lost their node, on their way to another one. What a node refuses is tried by itself,
 * so that it silences nobody else; it is told once, and asked for again after a pause.
 */
export class Rejoins {
  readonly #heard: Heard;
  readonly #steps: Steps;
  readonly #refused = new Set<string>();
  #timer: NodeJS.Timeout | undefined;

  constructor(heard: Heard, steps: Steps) {
    this.#heard = heard;
    this.#steps = steps;
  }

  /** Those of all that are wanted for which it is not too early. */
  due(wanted: readonly Buffer[]): readonly Buffer[] {
    if (this.#refused.size === 0) return wanted;
    const keys = new Set(wanted.map(keyFor));
    for (const name of this.#refused) if (!keys.has(name)) this.#refused.delete(name);
    return this.#timer === undefined ? wanted : wanted.filter((name) => !this.#refused.has(keyFor(name)));
  }

  /** Joins what has lost its node, and tells. Never rejects. */
  async begin(lost: readonly Buffer[]): Promise<void> {
    const refused = await this.#join(lost);
    if (refused.length === 0) return;
    const unknown = refused.find(({ name }) => !this.#refused.has(keyFor(name)));
    for (const { name } of refused) this.#refused.add(keyFor(name));
    if (unknown !== undefined) this.#heard.error(unknown.error);
    this.#timer ??= asPlumbing(() =>
      setTimeout(() => {
        this.#timer = undefined;
        this.#steps.again();
      }, PAUSE).unref(),
    );
  }

  /** Nothing of what was known holds any more. */
  clear(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#refused.clear();
  }

  async #join(lost: readonly Buffer[]): Promise<readonly Refused[]> {
    try {
      await this.#steps.join(lost);
    } catch (cause) {
      const error = cause as Error;
      if (!isReply(error) || isPassing(error)) {
        if (isReply(error)) this.#heard.error(error);
        this.#steps.soon();
        return [];
      }
      const [first] = lost;
      if (lost.length === 1 && first !== undefined) return [{ name: first, error }];
      const wanted = lost.filter((name) => this.#heard.wants('ssubscribe', name));
      return (await Promise.all(wanted.map((name) => this.#join([name])))).flat();
    }
    for (const name of lost) this.#refused.delete(keyFor(name));
    this.#heard.again(new Map([['ssubscribe', lost]]));
    return [];
  }
}

/** Whether a server has said so, and the connection is as it was. */
export function isReply({ name }: Error): boolean {
  return name === 'ReplyError';
}

// The cluster is about to say who has the slot.
function isPassing({ message }: Error): boolean {
  return /^(?:MOVED|ASK|CLUSTERDOWN|TRYAGAIN|LOADING) /.test(message);
}

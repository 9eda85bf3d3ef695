import { ConfigError } from '@tenantkit/core';
import { createErasure, type Erasure, type Ledger } from '@tenantkit/erasure';
import type { Config, ErasureConfig } from './config.ts';
import { loadConfig } from './load.ts';
import { Output, type Streams } from './output.ts';

/** How long the configuration's `close` may take, in milliseconds. */
const CLOSE_TIMEOUT = 2_000;

/** Options that every command takes. */
export interface GlobalOptions {
  readonly config?: string;
  readonly json?: boolean;
}

/** What a command works with; the configuration is loaded when it is asked for the first time. */
export class Session {
  readonly output: Output;
  readonly signal: AbortSignal;
  readonly streams: Streams;
  readonly #file: string | undefined;
  readonly #folder: string;
  #loading: Promise<Config> | undefined;

  constructor(
    streams: Streams,
    signal: AbortSignal,
    folder: string,
    { config, json = false }: GlobalOptions,
  ) {
    this.streams = streams;
    this.signal = signal;
    this.output = new Output(streams, json);
    this.#file = config;
    this.#folder = folder;
  }

  config(): Promise<Config> {
    this.#loading ??= loadConfig({ file: this.#file, folder: this.#folder });
    return this.#loading;
  }

  /** The configuration of erasures. @throws {@link ConfigError} when it is one of audits alone */
  async erasureConfig(): Promise<ErasureConfig> {
    const config = await this.config();
    if ('stores' in config) return config;
    throw new ConfigError({
      surface: 'cli',
      operation: 'config',
      problem: 'it names auditors alone, and this command needs stores, ledger and signer',
      hint: 'Add them, or give the configuration of erasures with --config.',
    });
  }

  /** The orchestrator of the configuration; with another ledger for what must leave no trace. */
  async erasure(other?: Ledger): Promise<Erasure> {
    const { stores, ledger, signer, fence, storeTimeout, planMaxAge } = await this.erasureConfig();
    return createErasure({
      stores,
      ledger: other ?? ledger,
      signer,
      ...(fence === undefined ? {} : { fence }),
      ...(storeTimeout === undefined ? {} : { storeTimeout }),
      ...(planMaxAge === undefined ? {} : { planMaxAge }),
    });
  }

  /** Closes what the configuration has opened, so that the process can end by itself. */
  async close(): Promise<void> {
    if (this.#loading === undefined) return;
    const config = await this.#loading.catch(() => undefined); // its error was told already
    if (config === undefined) return;
    config.fence?.close();
    if ('ledger' in config) await config.ledger.close();
    await bounded(config.close);
  }
}

/** A client whose server is down may wait for ever to say goodbye to it. */
async function bounded(close: Config['close']): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const enough = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, CLOSE_TIMEOUT);
  });
  try {
    await Promise.race([close?.(), enough]);
  } finally {
    clearTimeout(timer);
  }
}

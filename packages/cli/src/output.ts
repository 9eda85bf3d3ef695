import { stripVTControlCharacters } from 'node:util';
import { isErasureError, type AnyErasureError, type ErasureErrorCode } from '@tenantkit/erasure';
import Table from 'cli-table3';
import pc from 'picocolors';
import { exitCodeOf } from './exit.ts';

/** Where a command writes: data to `out`, everything else to `err`. */
export interface Streams {
  readonly out: Terminal;
  readonly err: Terminal;
}

/** A stream that may be a terminal. */
export type Terminal = NodeJS.WritableStream & { readonly isTTY?: boolean; readonly columns?: number };

/** Colours, as the stream can show them. */
export type Colors = ReturnType<typeof pc.createColors>;

/** Writes results for people or, with `--json`, one JSON document for programs. */
export class Output {
  readonly json: boolean;
  readonly colors: Colors;
  readonly #streams: Streams;

  constructor(streams: Streams, json: boolean) {
    this.#streams = streams;
    this.json = json;
    this.colors = pc.createColors(!json && streams.out.isTTY === true && pc.isColorSupported);
  }

  /** The result: as JSON, or as what `people` writes. */
  result(value: object, people: (output: Output) => void): void {
    if (this.json) this.#streams.out.write(`${JSON.stringify(value, undefined, 2)}\n`);
    else people(this);
  }

  /** One line of data. */
  line(text = ''): void {
    this.#streams.out.write(`${text}\n`);
  }

  /** Rows under a head, in columns. Texts from outside have to go through {@link clean} before. */
  table(head: readonly string[], rows: readonly (readonly string[])[]): void {
    const table = new Table({
      head: head.map((text) => this.colors.bold(text)),
      chars: NO_FRAME,
      style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    });
    table.push(...rows.map((row) => [...row]));
    const lines = table.toString().split('\n');
    this.line(lines.map((text) => text.trimEnd()).join('\n'));
  }

  /** What to do next, what happens meanwhile: not part of the data. */
  note(text: string): void {
    this.#streams.err.write(`${text}\n`);
  }

  /** An error: without a stack, with what to do next. */
  error(error: unknown): void {
    const { name, code, message } = describeError(error);
    if (this.json)
      this.#streams.out.write(
        `${JSON.stringify({ error: { ...details(error), name, code, message, exitCode: exitCodeOf(error) } }, undefined, 2)}\n`,
      );
    this.#streams.err.write(`${pc.red('error')} ${code}: ${message}\n`);
  }
}

/** Text from outside, as it can be shown: escape sequences could rewrite what a terminal shows. */
export function clean(text: string): string {
  return stripVTControlCharacters(text).replaceAll(/[\p{Cc}\p{Bidi_Control}]/gu, '\uFFFD');
}

/** `text` without user names and passwords of URLs: up to the last `@`, since a password may hold `/`, `?` and `#`. */
function withoutSecrets(text: string): string {
  return text.replaceAll(/([a-z][a-z\d+.-]*:\/\/)[^\s"'`]*@/giu, '$1…@');
}

function describeError(error: unknown): {
  readonly name: string;
  readonly code: string;
  readonly message: string;
} {
  if (!(error instanceof Error)) {
    return { name: 'Error', code: 'UNEXPECTED', message: 'Something that is no error was thrown.' };
  }
  const code = 'code' in error && typeof error.code === 'string' ? error.code : 'UNEXPECTED';
  const text = isErasureError(error) ? forCommand(error) : error.message || error.name;
  return { name: error.name, code: clean(code), message: clean(withoutSecrets(text)) };
}

/** The hints of the library name its functions; who types commands needs those. */
function forCommand(error: AnyErasureError): string {
  const hint = HINTS[error.code]?.(error.erasure ?? '<id>');
  return hint === undefined ? error.message : `${error.message.slice(0, -error.hint.length)}${hint}`;
}

const resume = (id: string): string => `Go on with: tenantkit erasures resume ${id}`;

const HINTS: Readonly<Partial<Record<ErasureErrorCode, (id: string) => string>>> = {
  ERASURE_NOT_FOUND: () => 'See: tenantkit erasures list',
  ERASURE_INTERRUPTED: resume,
  ERASURE_NOT_VERIFIED: (id) =>
    `Something may still write for this tenant: stop it (a fence does). ${resume(id)}`,
  ERASURE_PLAN_STALE: () => 'Plan it again with tenantkit erase, and approve the new plan.',
  ERASURE_LEASE_LOST: resume,
  ERASURE_STATE: (id) => `See: tenantkit erasures show ${id}`,
  ERASURE_CONFLICT: (id) => `See: tenantkit erasures show ${id}`,
};

/** What else programs may want to know: which stores failed, which are not verified. */
function details(error: unknown): object {
  if (typeof error !== 'object' || error === null) return {};
  const known = error as Record<string, unknown>;
  return Object.fromEntries(
    ['erasure', 'failures', 'verifications', 'stores', 'state', 'reason', 'missing', 'added', 'until']
      .filter((key) => known[key] !== undefined)
      .map((key) => [key, known[key]]),
  );
}

const NO_FRAME = {
  top: '',
  'top-mid': '',
  'top-left': '',
  'top-right': '',
  bottom: '',
  'bottom-mid': '',
  'bottom-left': '',
  'bottom-right': '',
  left: '',
  'left-mid': '',
  mid: '',
  'mid-mid': '',
  right: '',
  'right-mid': '',
  middle: '',
};

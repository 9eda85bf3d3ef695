import { createSecretKey, type KeyObject } from 'node:crypto';
import { open } from 'node:fs/promises';
import { ConfigError, isTenantkitError } from '@tenantkit/core';
import { z } from 'zod';
import { isTrustedOwner } from './owner.ts';

/** Length of a master key, in bytes. */
const LENGTH = 32;

/** Writing by group, and everything by others: a mounted secret is often readable by the group it is for. */
const TOO_OPEN = 0o027;

/** What a variable's name looks like, and no key: words in capitals. */
const NAME = /^[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+$/;

/** Text forms of 32 bytes, told apart by their length. */
const TEXT_FORMS: Readonly<Record<number, BufferEncoding>> = Object.assign(Object.create(null), {
  43: 'base64url',
  44: 'base64',
  64: 'hex',
} as const);

/**
 * Where the master key comes from: 32 bytes (copied; wipe yours afterwards), an environment variable, or a file.
 * As text it is base64, base64url or lower-case hexadecimal; a file may also hold the 32 bytes themselves.
 */
export type MasterKeySource = Uint8Array | { readonly env: string } | { readonly file: string };

/** Schema of a {@link MasterKeySource}. Says what is wrong, never shows what it was given. */
export const masterKeySource: z.ZodType<MasterKeySource> = z.union(
  [
    z.custom<Uint8Array>((value) => value instanceof Uint8Array),
    z.strictObject({ env: z.string().min(1) }),
    z.strictObject({ file: z.string().min(1) }),
  ],
  { error: 'must be 32 bytes, { env } or { file }' },
);

/**
 * Reads a master key into a KeyObject.
 *
 * @throws {@link ConfigError} when it is missing, not 32 bytes, one byte repeated, or a file open to others
 */
export async function readMaster(source: MasterKeySource): Promise<KeyObject> {
  if (source instanceof Uint8Array) return toMaster(Buffer.from(source));
  if ('file' in source) return toMaster(await readKeyFile(source.file));
  const text = process.env[source.env];
  if (text === undefined || text === '') {
    throw invalid(`${named(source.env)} is not set`, MAKE_ONE);
  }
  return toMaster(fromText(Buffer.from(text, 'utf8')));
}

// Whoever writes `env: process.env.KEY` has given the key where its name belongs.
function named(variable: string): string {
  return variable.length <= 40 && NAME.test(variable)
    ? `the environment variable ${variable}`
    : 'the environment variable that master.env names (give its name, not its value)';
}

const MAKE_ONE =
  'Make one with `openssl rand -base64 32` and keep it where backups of the key store are not.';

function toMaster(bytes: Buffer): KeyObject {
  try {
    if (bytes.length !== LENGTH) throw invalid('it is not 32 bytes', MAKE_ONE);
    if (bytes.every((byte) => byte === bytes[0])) {
      throw invalid('it is one byte repeated, as in a buffer that was wiped or never filled', MAKE_ONE);
    }
    return createSecretKey(bytes);
  } finally {
    bytes.fill(0);
  }
}

// Decoders skip what they do not know: a mistyped key must not become another key.
function fromText(raw: Buffer): Buffer {
  const text = raw.toString('utf8').trim();
  const form = TEXT_FORMS[text.length];
  const bytes = form === undefined ? undefined : Buffer.from(text, form);
  if (form === undefined || bytes === undefined || bytes.toString(form) !== text) {
    bytes?.fill(0);
    throw invalid('it is not 32 bytes in base64, base64url or lower-case hexadecimal', MAKE_ONE);
  }
  raw.fill(0);
  return bytes;
}

async function readKeyFile(path: string): Promise<Buffer> {
  try {
    const file = await open(path, 'r');
    try {
      // Of the open file, not of the path: between two looks at a path another file can take its place.
      const { mode, uid } = await file.stat();
      if ((mode & TOO_OPEN) !== 0) {
        throw invalid(
          'the key file is open: its group can write it, or others can open it',
          'chmod 400 the file.',
        );
      }
      if (!isTrustedOwner(uid)) {
        throw invalid(
          'the key file belongs to another user',
          'chown it to the user of this service, or to root.',
        );
      }
      const raw = await file.readFile();
      return raw.length === LENGTH ? raw : fromText(raw);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isTenantkitError(error)) throw error;
    // The messages of node:fs hold the path, and that may be the key itself.
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw invalid(
      `the key file cannot be read (${code})`,
      'Give its path, not its contents, and check that this user may read it.',
    );
  }
}

function invalid(problem: string, hint: string): ConfigError {
  return new ConfigError({ surface: 'crypto', operation: 'master', problem, hint });
}

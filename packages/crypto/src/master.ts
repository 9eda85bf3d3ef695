import { createSecretKey, type KeyObject } from 'node:crypto';
import { open } from 'node:fs/promises';
import { ConfigError, isTenantkitError } from '@tenantkit/core';
import { z } from 'zod';

/** Length of a master key, in bytes. */
const LENGTH = 32;

/** Writing by group, and everything by others: a mounted secret is often readable by the group it is for. */
const TOO_OPEN = 0o027;

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
    throw invalid(`the environment variable ${source.env} is not set`, MAKE_ONE);
  }
  return toMaster(fromText(Buffer.from(text, 'utf8')));
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
      const { mode } = await file.stat();
      if ((mode & TOO_OPEN) !== 0) {
        throw invalid('users other than its owner can read or write the key file', 'chmod 400 the file.');
      }
      const raw = await file.readFile();
      return raw.length === LENGTH ? raw : fromText(raw);
    } finally {
      await file.close();
    }
  } catch (error) {
    if (isTenantkitError(error)) throw error;
    throw invalid('the key file cannot be read', 'Check its path and that this user may read it.', error);
  }
}

function invalid(problem: string, hint: string, cause?: unknown): ConfigError {
  return new ConfigError({ surface: 'crypto', operation: 'master', problem, hint, cause });
}

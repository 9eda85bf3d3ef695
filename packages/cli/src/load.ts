import { existsSync, readFileSync } from 'node:fs';
import { extname, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { ConfigError } from '@tenantkit/core';
import { isUnreachable } from '@tenantkit/erasure';
import { resolveConfig, type Config } from './config.ts';

const NAMES = ['tenantkit.config.ts', 'tenantkit.config.mts', 'tenantkit.config.js', 'tenantkit.config.mjs'];

/** How {@link loadConfig} finds and reads the file. */
export interface LoadOptions {
  /** Path as given with `--config`; without it the folder is searched. */
  readonly file?: string | undefined;
  readonly folder: string;
  /** Whether this Node runs TypeScript by itself. */
  readonly typescript?: boolean;
}

/**
 * Loads the configuration.
 *
 * @throws {@link ConfigError} when there is none, or it cannot be read
 */
export async function loadConfig({
  file,
  folder,
  typescript = Boolean(process.features.typescript),
}: LoadOptions): Promise<Config> {
  const path = file === undefined ? search(folder) : resolve(folder, file);
  if (!existsSync(path)) throw unusable(`${file} does not exist`, 'Check the path given with --config.');
  try {
    return await resolveConfig(await importDefault(path, typescript));
  } catch (error) {
    // What the file itself says about a server, or about its options, is the better message.
    if (isUnreachable(error) || error instanceof ConfigError) throw error;
    throw unusable(`${path} cannot be loaded`, describe(error, path), error);
  }
}

function search(folder: string): string {
  const found = NAMES.map((name) => join(folder, name)).find((path) => existsSync(path));
  if (found !== undefined) return found;
  throw unusable(
    `there is no ${NAMES[0]} here`,
    `Make one with defineConfig() of @tenantkit/cli, run this where it lies, or give it with --config. Looked for: ${NAMES.join(', ')}.`,
  );
}

async function importDefault(path: string, typescript: boolean): Promise<unknown> {
  const isTypeScript = /^\.m?ts$/.test(extname(path));
  if (isTypeScript && !typescript) return viaJiti(path);
  try {
    const module = (await import(pathToFileURL(path).href)) as { readonly default?: unknown };
    return module.default;
  } catch (error) {
    // Node only strips types: enums, namespaces and parameter properties need a compiler.
    if (isTypeScript && hasCode(error, 'ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX')) return viaJiti(path);
    throw error;
  }
}

/** Before 22.18, Node runs no TypeScript without a flag. Loaded only where it is needed: every command starts with this file. */
async function viaJiti(path: string): Promise<unknown> {
  const { createJiti } = await import('jiti');
  return createJiti(import.meta.url).import(path, { default: true });
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}

function describe(error: unknown, path: string): string {
  if (!(error instanceof Error)) return 'It threw something that is no error.';
  // JSON.parse quotes what it could not read: the beginning of a key, where a key was not JSON.
  if (error instanceof SyntaxError && error.message.includes('JSON'))
    return `It threw SyntaxError: a text that it reads is not JSON. ${unset(path)}The text is not shown, since it may be a secret.`;
  return `It threw ${error.name}: ${error.message.split('\n')[0]}`;
}

/** Names of the environment that the file reads and that are empty: most often what is not JSON is no text at all. */
function unset(path: string): string {
  const names = [...readFileSync(path, 'utf8').matchAll(ENVIRONMENT)].map(
    ([, dotted, quoted]) => dotted ?? quoted ?? '',
  );
  const missing = [...new Set(names)].filter((name) => (process.env[name] ?? '') === '');
  return missing.length === 0 ? '' : `In the environment these are not set: ${missing.join(', ')}. `;
}

const ENVIRONMENT = /\benv(?:\.([A-Za-z_]\w*)|\[['"]([A-Za-z_]\w*)['"]\])/g;

function unusable(problem: string, hint: string, cause?: unknown): ConfigError {
  return new ConfigError({ surface: 'cli', operation: 'config', problem, hint, cause });
}

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { ConfigError } from '@tenantkit/core';
import { readCertificate, verifyCertificate, type VerificationKeys } from '@tenantkit/erasure';
import { EXIT, type ExitCode } from './exit.ts';
import type { Session } from './session.ts';
import { showCertificate } from './show.ts';

/** `tenantkit certificate verify <file>` */
export async function verify(
  session: Session,
  file: string,
  { key, ...expected }: { readonly key?: string } & Expected,
): Promise<ExitCode> {
  const text = readText(file, 'the certificate');
  const keys = key === undefined ? await configuredKeys(session) : readKeys(key);
  const verified = await verifyCertificate(text.trim(), {
    keys,
    ...about(expected),
  });
  session.output.result({ verified: true, ...verified }, (output) => {
    showCertificate(output, verified.certificate);
    output.line();
    output.line(output.colors.green(`Verified: signed by the key ${verified.kid}.`));
  });
  return EXIT.done;
}

/** `tenantkit certificate show <file or id>` */
export async function show(
  session: Session,
  what: string,
  { jws }: { readonly jws?: boolean },
): Promise<ExitCode> {
  const text = existsSync(what)
    ? readText(what, 'the certificate').trim()
    : await (await session.erasure()).certificate(what);
  // Read first: a file that is none would be written to the terminal as it is, escape sequences included.
  const certificate = readCertificate(text);
  if (jws === true) {
    session.output.result({ jws: text }, (output) => output.line(text));
    return EXIT.done;
  }
  session.output.result({ verified: false, certificate, jws: text }, (output) => {
    showCertificate(output, certificate);
    output.note('This shows what it states. Whether it is true: tenantkit certificate verify.');
  });
  return EXIT.done;
}

interface Expected {
  readonly tenant?: string;
  readonly subject?: string;
  readonly erasure?: string;
}

// Commander's options hold more than these; what is not given must be absent.
function about({ tenant, subject, erasure }: Expected): Expected {
  return {
    ...(tenant === undefined ? {} : { tenant }),
    ...(subject === undefined ? {} : { subject }),
    ...(erasure === undefined ? {} : { erasure }),
  };
}

/** Writes a certificate where it was asked for. @throws {@link ConfigError} */
export function writeCertificate(file: string, certificate: string): void {
  try {
    writeFileSync(file, `${certificate}\n`);
  } catch (error) {
    throw unreadable(
      `${file} cannot be written`,
      'The erasure is completed; get its certificate with: tenantkit certificate show <id> --jws',
      error,
    );
  }
}

async function configuredKeys(session: Session): Promise<VerificationKeys> {
  const { keys, signer } = await session.erasureConfig();
  return keys ?? [signer.publicKey];
}

function readKeys(file: string): VerificationKeys {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readText(file, 'the key'));
  } catch (error) {
    if (error instanceof ConfigError) throw error;
    throw unreadable(`${file} is not JSON`, 'Give a public JWK or a JWKS.', undefined);
  }
  const isRing = Array.isArray(parsed) || (typeof parsed === 'object' && parsed !== null && 'keys' in parsed);
  return (isRing ? parsed : [parsed]) as VerificationKeys;
}

function readText(file: string, what: string): string {
  try {
    return readFileSync(file === '-' ? 0 : file, 'utf8');
  } catch (error) {
    throw unreadable(`${what} ${file} cannot be read`, 'Check the path; - reads from standard input.', error);
  }
}

function unreadable(problem: string, hint: string, cause: unknown): ConfigError {
  return new ConfigError({ surface: 'cli', operation: 'certificate', problem, hint, cause });
}

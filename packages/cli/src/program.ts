import { readFileSync } from 'node:fs';
import { Command, CommanderError, Option } from 'commander';
import { z } from 'zod';
import { audit } from './audit.ts';
import * as certificate from './certificate.ts';
import { erase, type EraseOptions } from './erase.ts';
import * as erasures from './erasures.ts';
import { EXIT, exitCodeOf, type ExitCode } from './exit.ts';
import { Output, type Streams } from './output.ts';
import { Session, type GlobalOptions } from './session.ts';

/** What the command runs in. */
export interface Surroundings extends Streams {
  /** Aborted to stop; the state is kept. */
  readonly signal: AbortSignal;
  /** Where the configuration is looked for. */
  readonly folder: string;
}

/**
 * Runs the command.
 *
 * @param args - the arguments after the name of the program
 * @returns the exit code
 */
export async function runCommand(args: readonly string[], surroundings: Surroundings): Promise<ExitCode> {
  let outcome: ExitCode = EXIT.done;
  const json = args.includes('--json');
  const program = build(surroundings, (code) => {
    outcome = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return outcome;
  } catch (error) {
    const code = surroundings.signal.aborted ? EXIT.interrupted : exitCodeOf(error);
    // Commander has written its own message, unless a program is listening.
    if (!(error instanceof CommanderError) || (json && code !== EXIT.done)) {
      new Output(surroundings, json).error(error);
    }
    return code;
  }
}

type Work<Args extends unknown[]> = (session: Session, ...args: Args) => Promise<ExitCode>;

function build(surroundings: Surroundings, done: (code: ExitCode) => void): Command {
  const { out, err, signal, folder } = surroundings;
  const program = new Command('tenantkit')
    .description('Erase a tenant or a person from every store, and prove it.')
    .version(version())
    .option('-c, --config <file>', 'configuration, by default tenantkit.config.ts in this folder')
    .option('--json', 'write one JSON document to standard output')
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({ writeOut: (text) => out.write(text), writeErr: (text) => err.write(text) })
    .showHelpAfterError('Add --help to see how it is used.')
    .exitOverride()
    .addHelpText('after', EXIT_CODES);

  const command = <Args extends unknown[]>(
    parent: Command,
    usage: string,
    description: string,
    work: Work<Args>,
  ): Command =>
    parent
      .command(usage)
      .description(description)
      .action(async (...given: unknown[]) => {
        const own = given.at(-1) as Command;
        const session = new Session(surroundings, signal, folder, own.optsWithGlobals<GlobalOptions>());
        try {
          done(await work(session, ...(given.slice(0, -1) as Args)));
        } finally {
          await session.close();
        }
      });

  command<[string, EraseOptions]>(
    program,
    'erase <tenant[/person]>',
    'erase a tenant, or one person of it',
    erase,
  )
    .addOption(
      new Option('--dry-run', 'count what would go; write nothing down').conflicts(['approve', 'yes']),
    )
    .addOption(new Option('--approve', 'approve the newest plan, and run it').conflicts(['yes']))
    .addOption(
      new Option('--plan <revision>', 'with --approve: only this plan, as it was shown').conflicts([
        'yes',
        'dryRun',
      ]),
    )
    .option('--yes', 'plan, approve and run at once')
    .option('--reason <text>', 'why, for the certificate', 'requested with the tenantkit command')
    .option('--by <who>', 'who asks or approves, for the certificate (default: user@host)')
    .option('--out <file>', 'write the certificate there');

  const group = program.command('erasures').description('the erasures in the ledger');
  command<[{ tenant?: string; open?: boolean }]>(group, 'list', 'newest first', erasures.list)
    .option('--tenant <tenant>', 'of this tenant only')
    .option('--open', 'only those that are not completed');
  command<[string]>(group, 'show <id>', 'where one of them is', erasures.show);
  command<[string, { out?: string }]>(
    group,
    'resume <id>',
    'go on where it was interrupted',
    erasures.resume,
  ).option('--out <file>', 'write the certificate there');

  const proofs = program.command('certificate').description('proofs of erasure');
  command<[string, { key?: string; tenant?: string; subject?: string; erasure?: string }]>(
    proofs,
    'verify <file>',
    'verify a certificate, without any server (- for standard input)',
    certificate.verify,
  )
    .option('--key <file>', 'public JWK or JWKS to trust; without it, the keys of the configuration')
    .option('--tenant <tenant>', 'the tenant that it has to be about')
    .option('--subject <person>', 'the person that it has to be about')
    .option('--erasure <id>', 'the erasure that it has to be of');
  command<[string, { jws?: boolean }]>(
    proofs,
    'show <file-or-id>',
    'show what it states, unverified',
    certificate.show,
  ).option('--jws', 'the certificate itself, to be handed on');

  command<[{ store?: string }]>(
    program,
    'audit',
    'look for what breaks isolation in live stores',
    audit,
  ).option('--store <store>', 'this store only');
  return program;
}

const EXIT_CODES = `
Exit codes: 0 done, 1 findings or not verified, 2 bad usage or configuration, 3 a store cannot be reached,
4 waiting (for approval, or for another process), 130 interrupted; run it again to go on.`;

function version(): string {
  const manifest: unknown = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return z.object({ version: z.string() }).parse(manifest).version;
}

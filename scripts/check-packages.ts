/**
 * Checks what is published, not what is in the workspace: packs every package, lints the tarball (publint in
 * strict mode, arethetypeswrong for ES modules, links of its pages), installs all of them into an empty project outside the
 * workspace, type-checks a short program for each there, and runs it. The examples of the READMEs and of the
 * comments are type-checked there, too, and the published declarations with more than one version of @types/node.
 */
import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { checkPackage, createPackageFromTarballData } from '@arethetypeswrong/core';
import { publint } from 'publint';
import { formatMessage } from 'publint/utils';
import { brokenLinksOf } from '../test/pages.ts';
import { readExamples } from './examples.ts';

const run = promisify(execFile);
const root = dirname(dirname(fileURLToPath(import.meta.url)));
const programs = join(root, 'scripts/consumer');

/** Ways of resolving that a package for Node 22 and later, ES modules only, does not serve. */
const NOT_SERVED = new Set(['node10', 'node16-cjs']);

/** What the examples import beside the clients. */
const EXAMPLE_DEPENDENCIES = { pino: '10.4.0' };

/** The same, in the version of the catalog. */
const EXAMPLE_CATALOG = [
  '@bull-board/api',
  '@bull-board/express',
  '@nestjs/bullmq',
  '@nestjs/common',
  '@nestjs/core',
  '@types/express',
  'express',
  'reflect-metadata',
  'rxjs',
];

/** What our declarations are compiled with besides the version of the catalog: a service has the types of its own Node. */
const NEWEST_NODE_TYPES = '26.6.6';

interface Packed {
  readonly name: string;
  readonly tarball: string;
  readonly manifest: { readonly peerDependencies?: Record<string, string> };
}

const folder = await mkdtemp(join(tmpdir(), 'tenantkit-packages-'));
try {
  const packages = await packAll();
  const problems = (await Promise.all(packages.map(lint))).flat();
  if (problems.length === 0) problems.push(...(await tryAsConsumer(packages)));
  for (const problem of problems) console.error(problem);
  console.log(`${packages.length} packages packed, ${problems.length} problems`);
  process.exitCode = problems.length === 0 && packages.length > 0 ? 0 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function packAll(): Promise<Packed[]> {
  const packages: Packed[] = [];
  for (const name of (await readdir(join(root, 'packages'))).toSorted()) {
    const { stdout } = await pnpm(
      ['pack', '--json', '--pack-destination', folder],
      join(root, 'packages', name),
    );
    const { filename } = JSON.parse(stdout.slice(stdout.indexOf('{'))) as { filename: string };
    const manifest = JSON.parse(
      await readFile(join(root, 'packages', name, 'package.json'), 'utf8'),
    ) as Packed['manifest'];
    packages.push({ name, manifest, tarball: join(folder, basename(filename)) });
  }
  return packages;
}

async function lint({ name, tarball }: Packed): Promise<string[]> {
  const data = await readFile(tarball);
  const bytes = new Uint8Array(data).buffer;
  const { messages, pkg } = await publint({ pack: { tarball: bytes }, strict: true });
  const published = createPackageFromTarballData(new Uint8Array(data));
  const types = await checkPackage(published);
  const files = new Set(published.listFiles());
  const leaked = [...files].filter((file) => /\/test\/|tsbuildinfo/.test(file));
  // Stack traces and editors open what a map names.
  const missing = [...files]
    .filter((file) => file.endsWith('.map'))
    .flatMap((file) => sourcesOf(published.readFile(file)).map((source) => join(dirname(file), source)))
    .filter((source) => !files.has(source));
  // A page that is not in the tarball is nowhere for who has installed the package.
  const broken = [...files]
    .filter((file) => file.endsWith('.md'))
    .flatMap((file) =>
      brokenLinksOf(published.readFile(file), (path) => {
        const target = path === '' ? file : join(dirname(file), path);
        return files.has(target) ? () => published.readFile(target) : undefined;
      }).map((link) => `${name}: ${basename(file)}: the tarball has nothing for the link ${link}`),
    );
  return [
    ...broken,
    ...messages.map((message) => `${name}: publint: ${formatMessage(message, pkg) ?? message.code}`),
    ...(types.types === false ? [`${name}: attw: no types`] : types.problems)
      .filter(
        (problem) =>
          typeof problem === 'string' ||
          !('resolutionKind' in problem && NOT_SERVED.has(problem.resolutionKind)),
      )
      .map((problem) =>
        typeof problem === 'string' ? problem : `${name}: attw: ${JSON.stringify(problem)}`,
      ),
    ...leaked.map((file) => `${name}: the tarball holds ${file}`),
    ...missing.map((file) => `${name}: a source map names ${file}, which the tarball does not hold`),
  ];
}

function sourcesOf(map: string): readonly string[] {
  return (JSON.parse(map) as { readonly sources: readonly string[] }).sources;
}

async function tryAsConsumer(packages: readonly Packed[]): Promise<string[]> {
  const project = join(folder, 'consumer');
  await mkdir(project);
  const catalog = await readCatalog();
  const tarballs = Object.fromEntries(
    packages.map(({ name, tarball }) => [`@tenantkit/${name}`, `file:${tarball}`]),
  );
  const peers = packages.flatMap(({ manifest }) => Object.keys(manifest.peerDependencies ?? {}));
  const dependencies = {
    ...tarballs,
    ...Object.fromEntries(
      [...peers, ...EXAMPLE_CATALOG, 'typescript', '@types/node'].map((peer) => [
        peer,
        catalog.get(peer) ?? '*',
      ]),
    ),
    ...EXAMPLE_DEPENDENCIES,
  };
  await writeFile(
    join(project, 'package.json'),
    JSON.stringify({ name: 'consumer', private: true, type: 'module', dependencies }),
  );
  const install = async (overrides: Readonly<Record<string, string>>): Promise<void> => {
    const lines = [
      'packages: []',
      'allowBuilds:',
      '  msgpackr-extract: false',
      '  cpu-features: false',
      '  ssh2: false',
      '  protobufjs: false',
      'overrides:',
    ].concat(Object.entries(overrides).map(([name, spec]) => `  '${name}': '${spec}'`));
    await writeFile(join(project, 'pnpm-workspace.yaml'), lines.join('\n'));
    await pnpm(['install', '--prefer-offline', '--no-frozen-lockfile'], project);
  };
  await cp(programs, project, { recursive: true });
  const examples = (
    await Promise.all(
      [undefined, ...packages.map(({ name }) => name)].map((name) => readExamples(root, name)),
    )
  ).flat();
  await Promise.all(examples.map(({ file, text }) => writeFile(join(project, file), text)));
  await writeFile(
    join(project, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        module: 'nodenext',
        target: 'es2023',
        strict: true,
        noEmit: true,
        skipLibCheck: true,
        types: ['node'],
      },
      include: ['*.ts'],
    }),
  );
  await install(tarballs);

  const problems: string[] = [];
  const attempt = async (what: string, work: Promise<unknown>): Promise<void> => {
    await work.catch((error: Error & { stdout?: string; stderr?: string }) => {
      problems.push(`${what}: ${error.message}\n${error.stdout ?? ''}${error.stderr ?? ''}`);
    });
  };
  await attempt(
    'types of the programs and examples',
    run(process.execPath, [join(project, 'node_modules/typescript/bin/tsc'), '-p', '.'], {
      cwd: project,
    }).catch((error: Error & { stdout?: string }) => {
      const { stdout = '' } = error;
      error.stdout = examples.reduce((text, { file, from }) => text.replaceAll(file, from), stdout);
      throw error;
    }),
  );
  const written = new Set(await readdir(programs));
  for (const { name } of packages) {
    if (!written.has(`${name}.ts`)) problems.push(`${name}: scripts/consumer/${name}.ts is missing`);
    else
      await attempt(
        `program of ${name}`,
        run(process.execPath, [`${name}.ts`], { cwd: project, timeout: 60_000 }),
      );
  }
  for (const types of [catalog.get('@types/node') ?? '*', NEWEST_NODE_TYPES]) {
    await install({ ...tarballs, '@types/node': types });
    problems.push(...(await declarationProblems(project)).map((line) => `@types/node ${types}: ${line}`));
  }
  return problems;
}

/** What does not compile of our own declarations; those of others are theirs, and `skipLibCheck` would hide both. */
async function declarationProblems(project: string): Promise<string[]> {
  const tsc = join(project, 'node_modules/typescript/bin/tsc');
  const said = await run(process.execPath, [tsc, '-p', '.', '--skipLibCheck', 'false', '--pretty', 'false'], {
    cwd: project,
    maxBuffer: 64 << 20,
  }).catch((error: { stdout?: string }) => ({ stdout: error.stdout ?? '' }));
  return said.stdout.split('\n').filter((line) => /@tenantkit[+/].*error TS|^error TS/.test(line));
}

async function readCatalog(): Promise<Map<string, string>> {
  const text = await readFile(join(root, 'pnpm-workspace.yaml'), 'utf8');
  const lines = text.slice(text.indexOf('\ncatalog:')).matchAll(/^ {2}'?([^':]+)'?: (\S+)$/gm);
  return new Map([...lines].map(([, name = '', version = '']) => [name, version]));
}

function pnpm(args: readonly string[], cwd: string): Promise<{ stdout: string; stderr: string }> {
  // The pnpm that runs this script; on its own, `pnpm` need not be on the PATH.
  const self = process.env['npm_execpath'];
  const env = { ...process.env, npm_config_verify_deps_before_run: 'false' };
  const [command, before]: [string, string[]] =
    self === undefined
      ? ['npx', ['--yes', 'pnpm@12.18.0']]
      : /\.[cm]?js$/.test(self)
        ? [process.execPath, [self]]
        : [self, []];
  return run(command, [...before, ...args], { cwd, env, maxBuffer: 64 << 20 });
}

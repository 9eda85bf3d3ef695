import { execFile } from 'node:child_process';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { versionFolders, type Host } from './host.ts';

/** A Java that was found, and asked for its version. */
export interface Java {
  readonly path: string;
  /** What JAVA_HOME has to be for tools that start this one. */
  readonly home: string;
  /** 17, 21, 25 … */
  readonly major: number;
}

/** Java in JAVA_HOME, or the newest of /usr/lib/jvm, or the one on the PATH. */
export async function findJava({ env, findProgram }: Host): Promise<Java | undefined> {
  const home = env['JAVA_HOME'];
  if (home !== undefined && home !== '') {
    const java = await ask(join(home, 'bin', 'java'));
    if (java !== undefined) return java;
  }
  const installed = await Promise.all(
    versionFolders('/usr/lib/jvm', 'bin').map((folder) => ask(join(folder, 'java'))),
  );
  const [newest] = installed.filter((java) => java !== undefined).sort((a, b) => b.major - a.major);
  if (newest !== undefined) return newest;
  const onPath = findProgram('java');
  return onPath === undefined ? undefined : ask(onPath);
}

async function ask(path: string): Promise<Java | undefined> {
  try {
    // Older ones print it to stderr, and `java` of macOS without a JDK fails: both show here.
    const { stdout, stderr } = await promisify(execFile)(path, ['-version'], { timeout: 20_000 });
    const major = /version "(\d+)/.exec(stdout + stderr)?.[1];
    return major === undefined ? undefined : { path, home: dirname(dirname(path)), major: Number(major) };
  } catch {
    // Not there, or not a Java that runs: the next one is asked.
    return undefined;
  }
}

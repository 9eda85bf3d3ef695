/** The first Node whose `node:sqlite` needs no flag. */
const NEEDED = [22, 13] as const;

/**
 * @param version - as in `process.versions.node`
 * @returns what to tell somebody whose Node cannot run the command
 */
export function tooOld(version: string): string | undefined {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  const [neededMajor, neededMinor] = NEEDED;
  if (major > neededMajor || (major === neededMajor && minor >= neededMinor)) return undefined;
  return `tenantkit needs Node ${neededMajor}.${neededMinor} or newer, and this is ${version}. Install it, or run the command with one.`;
}

/**
 * Whether a file or directory is this user's, or root's, as mounted secrets are. The owner may change it, whatever
 * its mode: somebody else could swap the master key, or put an erased tenant's record back.
 */
export function isTrustedOwner(uid: number): boolean {
  const user = process.geteuid?.();
  return user === undefined || uid === user || uid === 0;
}

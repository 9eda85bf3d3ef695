/** The master key of the crash tests, which parent and child share. */
export const MASTER: string = Array.from({ length: 32 }, (_, at) =>
  (at + 1).toString(16).padStart(2, '0'),
).join('');

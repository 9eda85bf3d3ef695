/** What a child process is told to do. */
export interface Order {
  readonly kind: 'race' | 'read' | 'once';
  readonly directory: string;
  readonly master: string;
  readonly maxAge: number;
  readonly tenants: readonly string[];
  readonly text: string;
}

/** What a child process answers. */
export type Answer =
  | { readonly kind: 'ready' }
  | { readonly kind: 'texts'; readonly texts: readonly string[] }
  | { readonly kind: 'refused'; readonly last: number; readonly reason: string; readonly again: string };

export const FIELD = { table: 'users', column: 'ssn', row: '7' } as const;

/** What churn.ts was promised: that a value opens, or from when on nothing does. */
export type Promised =
  | { readonly tenant: string; readonly text: string }
  | { readonly tenant: string; readonly completeAt: string };

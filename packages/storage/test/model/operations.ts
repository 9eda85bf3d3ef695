import fc, { type Arbitrary } from 'fast-check';

/** The tenants of the model; all of them use the same keys. */
export const TENANTS = ['acme', 'acme2', 'ac'] as const;
export type Tenant = (typeof TENANTS)[number];

const KEYS = ['a', 'a/b', 'a/b/c', 'a!b', 'a0', 'b é', 'dir/', 'tenants/acme2/a', '%2eb', '日本'];
const PREFIXES = ['', 'a', 'a/', 'a/b', 'tenants/acme', 'none'];

/** One call of a tenant. `which` chooses a version, counted from the first, among those that there are. */
export type Operation =
  | { readonly kind: 'put'; readonly key: string; readonly body: string }
  | { readonly kind: 'get' | 'head'; readonly key: string; readonly which: number | undefined }
  | { readonly kind: 'delete'; readonly key: string; readonly which: number | undefined }
  | { readonly kind: 'copy'; readonly from: string; readonly to: string }
  | { readonly kind: 'batch'; readonly keys: readonly string[] }
  | { readonly kind: 'list'; readonly prefix: string; readonly delimiter: boolean; readonly page: number }
  | { readonly kind: 'after'; readonly key: string }
  | {
      readonly kind: 'upload';
      readonly key: string;
      readonly parts: readonly string[];
      readonly end: 'complete' | 'abort' | 'leave';
      readonly thief: boolean;
    }
  | { readonly kind: 'escape'; readonly key: string };

/** Calls that leave together, at most one of each tenant. */
export type Turn = Readonly<Partial<Record<Tenant, Operation>>>;

const key = fc.constantFrom(...KEYS);
const body = fc.string({ maxLength: 12 });
const which = (versioned: boolean): Arbitrary<number | undefined> =>
  versioned ? fc.option(fc.nat(5), { nil: undefined }) : fc.constant(undefined);

/** Operations as a server can do them. */
export function operations({
  versioned,
  aborts,
  folders,
}: {
  readonly versioned: boolean;
  readonly aborts: boolean;
  readonly folders: boolean;
}): Arbitrary<Operation> {
  const at = { key, which: which(versioned) };
  const weighted: [number, Arbitrary<Operation>][] = [
    [8, fc.record({ kind: fc.constant('put' as const), key, body })],
    [4, fc.record({ kind: fc.constant('get' as const), ...at })],
    [2, fc.record({ kind: fc.constant('head' as const), ...at })],
    [4, fc.record({ kind: fc.constant('delete' as const), ...at })],
    [
      3,
      fc
        .record({ kind: fc.constant('copy' as const), from: key, to: key })
        // Onto itself it is an error, if there is something to copy.
        .filter(({ from, to }) => from !== to),
    ],
    [
      2,
      fc.record({
        kind: fc.constant('batch' as const),
        keys: fc.uniqueArray(key, { minLength: 1, maxLength: 4 }),
      }),
    ],
    [
      4,
      fc.record({
        kind: fc.constant('list' as const),
        prefix: fc.constantFrom(...PREFIXES),
        delimiter: folders ? fc.boolean() : fc.constant(false),
        page: fc.constantFrom(1, 2, 3, 1000),
      }),
    ],
    [1, fc.record({ kind: fc.constant('after' as const), key })],
    [
      2,
      fc.record({
        kind: fc.constant('upload' as const),
        key,
        // Only the last part may be small.
        parts: fc.tuple(body),
        end: fc.constantFrom(
          ...(aborts ? (['complete', 'abort', 'leave'] as const) : (['complete'] as const)),
        ),
        thief: fc.boolean(),
      }),
    ],
    [
      1,
      fc.record({
        kind: fc.constant('escape' as const),
        key: fc.constantFrom('../acme2/a', 'a/../../acme2/a', '/a', 'a//b', '%2e%2e/acme2/a', '..\\acme2'),
      }),
    ],
  ];
  return fc.oneof(...weighted.map(([weight, arbitrary]) => ({ weight, arbitrary })));
}

/** A program: turns, one after the other. */
export function programs(operation: Arbitrary<Operation>, length: number): Arbitrary<Turn[]> {
  const turn = fc.record(
    Object.fromEntries(TENANTS.map((tenant) => [tenant, operation])) as Record<Tenant, Arbitrary<Operation>>,
    { requiredKeys: [] },
  );
  return fc.array(turn, { minLength: length, maxLength: length });
}

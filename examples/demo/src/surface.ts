import { isTenantkitError, type Eraser } from '@tenantkit/core';

/** The two tenants of the demo. The one's id is the beginning of the other's, as every sloppy prefix fears. */
export const TENANT = 'acme';
export const NEIGHBOUR = 'acme2';

/** One thing that was tried, and what came back. */
export interface Attempt {
  readonly tried: string;
  readonly cameBack: string;
  readonly asItShouldBe: boolean;
}

/** What the demo does with one store. Everything goes through the public packages, except the two raw views. */
export interface DemoSurface {
  readonly name: string;
  readonly eraser: Eraser;
  /** Writes for both tenants, under identical ids. */
  seed(): Promise<void>;
  /** Each tenant reads its own. */
  ownRead(): Promise<readonly Attempt[]>;
  /** One tenant tries to reach the other's. */
  otherTenant(): Promise<readonly Attempt[]>;
  /** A call outside of any tenant. */
  noTenant(): Promise<readonly Attempt[]>;
  /** Every physical record of a tenant, as a raw client sees it: name and bytes. */
  raw(tenant: string): Promise<ReadonlyMap<string, Buffer>>;
  close(): Promise<void>;
}

/** Runs something that must be refused with one of the codes. */
export async function refused(tried: string, codes: readonly string[], run: () => unknown): Promise<Attempt> {
  try {
    const value = await run();
    return { tried, cameBack: `answered ${short(value)}`, asItShouldBe: false };
  } catch (error) {
    const code = codeOf(error);
    return { tried, cameBack: code, asItShouldBe: codes.includes(code) };
  }
}

/** Runs something that must answer exactly this. */
export async function answers(tried: string, expected: unknown, run: () => unknown): Promise<Attempt> {
  try {
    const value = await run();
    return {
      tried,
      cameBack: short(value),
      asItShouldBe: JSON.stringify(value) === JSON.stringify(expected),
    };
  } catch (error) {
    return { tried, cameBack: codeOf(error), asItShouldBe: false };
  }
}

/** Our literal code, or the name of a raw client's error: `NoSuchKey`. */
function codeOf(error: unknown): string {
  if (isTenantkitError(error)) return error.code;
  return error instanceof Error ? error.name : String(error);
}

function short(value: unknown): string {
  const text = typeof value === 'string' ? `"${value}"` : (JSON.stringify(value) ?? 'undefined');
  return text.length > 60 ? `${text.slice(0, 57)}…` : text;
}

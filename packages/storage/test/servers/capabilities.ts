import { PutObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { inject, describe, expect, it } from 'vitest';
import { openBucket } from './bucket.ts';
import { PROBES } from './probes.ts';
import { SERVERS, type Feature } from './table.ts';
import { server } from './server.ts';

export { server };

const asked = new Map<Feature, Promise<boolean>>();

/** Whether the server has a feature, by its own answers. */
export function has(feature: Feature): Promise<boolean> {
  const known = asked.get(feature);
  if (known !== undefined) return known;
  const asking = ask(feature);
  asked.set(feature, asking);
  return asking;
}

async function ask(feature: Feature): Promise<boolean> {
  await using own = await openBucket({});
  const raw = new S3Client({ ...own.client, maxAttempts: 1 });
  const endpoint = inject('servers').s3.queryEndpoint ?? own.client.endpoint;
  const queries = new S3Client({ ...own.client, endpoint, maxAttempts: 1 });
  try {
    await raw.send(new PutObjectCommand({ Bucket: own.bucket, Key: 'a', Body: 'x' }));
    return await PROBES[feature]({ raw, queries, Bucket: own.bucket, client: own.client });
  } finally {
    raw.destroy();
    queries.destroy();
  }
}

/** The first of the features that the server lacks. */
export function lacking(features: readonly Feature[]): Feature | undefined {
  return features.find((feature) => SERVERS[server][feature] !== true);
}

/** The row in place of a test that a server cannot pass: it shows that the server lacks what the test needs. */
export function lacks(name: string, feature: Feature): void {
  it(`${name} [not here: ${server} ${String(SERVERS[server][feature])}]`, async () => {
    expect(await has(feature)).toBe(false);
  });
}

/**
 * `it` and `describe` for tests that need features of the server. On one that lacks a feature, a row that says so and
 * shows it stands in their place.
 */
export function needs(...features: readonly Feature[]): {
  readonly it: typeof it;
  readonly describe: typeof describe;
} {
  const missing = lacking(features);
  if (missing === undefined) return { it, describe };
  const row = (name: string | ((...args: never[]) => unknown)): void => lacks(String(name), missing);
  const instead = Object.assign(row, { each: () => row, concurrent: row });
  return { it: instead as unknown as typeof it, describe: instead as unknown as typeof describe };
}

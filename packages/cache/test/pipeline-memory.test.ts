import { Redis as Raw } from 'ioredis';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { acme, openCache, type Opened } from './support.ts';

let opened: Opened;
beforeAll(async () => {
  opened = await openCache();
});
afterAll(() => opened[Symbol.asyncDispose]());

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as (how?: { type: 'minor' }) => void;

const PIPELINES = 50;
const COMMANDS = 100;

/** How many bytes of many pipelines that nobody uses any more are left when the young generation is collected. */
async function left(client: Raw): Promise<number> {
  const run = async (): Promise<void> => {
    for (let n = 0; n < PIPELINES; n += 1) {
      const pipeline = client.pipeline();
      for (let at = 0; at < COMMANDS; at += 1) pipeline.get('key');
      await pipeline.exec();
    }
  };
  // Compiled code, and what is made once.
  await run();
  collect();
  const before = process.memoryUsage().heapUsed;
  await run();
  // What survives two is moved to the old generation.
  for (let n = 0; n < 3; n += 1) collect({ type: 'minor' });
  return process.memoryUsage().heapUsed - before;
}

it('pipelines are gone with the young generation, and so are their commands and replies', async () => {
  const ours = await acme(() => left(opened.redis));
  const theirs = await left(opened.raw);
  // Some 500 bytes for each command.
  expect(theirs).toBeGreaterThan(PIPELINES * COMMANDS * 250);
  expect(ours).toBeLessThan(theirs / 4);
});

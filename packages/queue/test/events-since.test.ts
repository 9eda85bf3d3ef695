import { acrossTenants } from '@tenantkit/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { feedOf } from '../src/events/feed.ts';
import { eventBench, type EventBench } from './events-support.ts';
import { OPERATOR } from './support.ts';

let on: EventBench;
beforeAll(async () => {
  on = await eventBench();
});
afterAll(() => on[Symbol.asyncDispose]());

const millis = async (): Promise<number> => {
  const [seconds = 0, micros = 0] = await on.redis.time();
  return seconds * 1_000 + Math.floor(micros / 1_000);
};

it('an operator who is ready misses nothing of the millisecond in which it is', async () => {
  const events = on.events('mail');
  const heard: string[] = [];
  const listener = ({ jobId }: { jobId: string }): void => void heard.push(jobId);
  await acrossTenants(OPERATOR, async () => {
    events.on('completed', listener);
    await events.waitUntilReady();
    const [seat] = feedOf(events)?.readers.seats ?? [];
    for (let round = 0; round < 10; round += 1) {
      events.off('completed', listener);
      // Two commands, which are over within a millisecond more often than not.
      events.on('completed', listener);
      await seat?.reader.ready();
      const now = await millis();
      await on.redis
        .multi()
        .zadd('bull:mail~:lanes', Date.now(), `t${round}`)
        .xadd(
          `bull:mail~t${round}:events`,
          `${now}-0`,
          'event',
          'completed',
          'jobId',
          `t${round}~${round}`,
          'returnvalue',
          '1',
        )
        .exec();
      // Where it begins anew, lanes that it knows already are not asked for again.
      await expect.poll(() => heard, { timeout: 10_000, interval: 5 }).toContain(String(round));
    }
  });
});

import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { listedLibraries } from './support.ts';

it.each(listedLibraries())('the README says of %s what is tested: %s', (library, version) => {
  const file = new URL(`../../node_modules/${library}/package.json`, import.meta.url);
  const installed = (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version.replace(/^v/, '');
  expect(`${installed}.`).toMatch(new RegExp(`^${version.replaceAll('.', '\\.')}\\.`));
});

it('the README lists what is tested here', () => {
  expect(listedLibraries().map(([library]) => library)).toEqual([
    'rate-limiter-flexible',
    '@fastify/rate-limit',
    'rate-limit-redis',
    'redlock',
    'redis-semaphore',
    'connect-redis',
    'keyv',
    '@keyv/redis',
    'cache-manager',
    '@keyv/redis',
    '@opentelemetry/instrumentation-ioredis',
  ]);
});

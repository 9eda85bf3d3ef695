import { describe, expectTypeOf, it } from 'vitest';
import type { RedisConnection, Servers, Started } from '@tenantkit/testing/servers';
import { startServers } from '@tenantkit/testing/servers';

describe('what startServers gives', () => {
  it('has the servers that were asked for, and no others', () => {
    const start = () => startServers({ redis: true, s3: true, opensearch: false, quiet: true });
    type Given = Awaited<ReturnType<typeof start>>;
    expectTypeOf<Given['redis']>().toEqualTypeOf<Started<RedisConnection>>();
    expectTypeOf<Given['s3']['endpoint']>().toEqualTypeOf<string>();
    expectTypeOf<Given>().not.toHaveProperty('opensearch');
    expectTypeOf<Given>().not.toHaveProperty('postgres');
    expectTypeOf<Given['env']>().returns.toEqualTypeOf<Record<string, string>>();
  });

  it('may have those that are only perhaps asked for', () => {
    expectTypeOf<Servers<{ redis: boolean }>['redis']>().toEqualTypeOf<
      Started<RedisConnection> | undefined
    >();
  });

  it('takes no server that there is not', () => {
    // @ts-expect-error -- there is no such server
    const start = () => startServers({ redis: true, mongodb: true });
    expectTypeOf(start).toBeFunction();
  });
});

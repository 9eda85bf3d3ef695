import { isId, type Finding } from '@tenantkit/core';
import { FOUND } from './audit-findings.ts';
import { oddNaming } from './key-types.ts';
import type { CheckedPlaces } from './places.ts';
import { RawRedis } from './raw-redis.ts';
import { SiloClients, type KnownSilo } from './silo-clients.ts';

/** The shared Redis, and each silo of a tenant that has added jobs to one, while it is looked at. */
export async function* eachRedis(places: CheckedPlaces): AsyncGenerator<RawRedis | Finding> {
  const raw = new RawRedis(places.redis, 'queueAuditor.audit', places.timeout);
  yield raw;
  const silos = new SiloClients(places.place);
  const seen = new Set<KnownSilo>();
  for (const queue of places.queues) {
    const { keys } = queue;
    // Told when the queue is looked at.
    if ((await oddNaming(raw, queue)).includes(keys.placed)) continue;
    for (const tenant of await raw.run((redis) => redis.zrange(keys.placed, 0, '-1'))) {
      let silo: KnownSilo | undefined;
      try {
        if (isId(tenant) && places.place === undefined) throw new TypeError('there is no place');
        silo = isId(tenant) ? silos.find(tenant) : undefined;
      } catch {
        // Anybody may have written the name: the silos of the others are looked at all the same.
        yield {
          store: places.store,
          code: 'unplaced_tenant',
          name: `${keys.placed} ${tenant}`,
          ...FOUND.unplaced_tenant,
        };
      }
      if (silo === undefined || seen.has(silo)) continue;
      seen.add(silo);
      const leave = silo.use();
      try {
        yield new RawRedis(silo.redis, 'queueAuditor.audit', places.timeout);
      } finally {
        leave();
      }
    }
  }
}

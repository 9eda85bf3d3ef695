/**
 * The whole product on real servers, in one command: two tenants share one Redis, one bucket, one queue, one
 * index and one keyring; what must not be reached is tried; one tenant is erased from all of them, and the
 * proof is checked.
 *
 * `--keep` leaves the servers and the data up until Ctrl-C. Ends with 0 when everything was as it should be.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import {
  createErasure,
  createSigner,
  generateSigningKey,
  sqliteLedger,
  verifyCertificate,
} from '@tenantkit/erasure';
import { startServers } from '@tenantkit/testing/servers';
import pc from 'picocolors';
import { attempts, fact, heading, line, summary, type Row } from './report.ts';
import { NEIGHBOUR, TENANT, type DemoSurface } from './surface.ts';
import { cacheSurface } from './surfaces/cache.ts';
import { cryptoSurface } from './surfaces/crypto.ts';
import { queueSurface } from './surfaces/queue.ts';
import { searchSurface } from './surfaces/search.ts';
import { storageSurface } from './surfaces/storage.ts';

const { values: options } = parseArgs({ options: { keep: { type: 'boolean', default: false } } });
/** After Ctrl-C, in milliseconds. */
const TIDY_UP_WITHIN = 5_000;

const stop = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => {
    stop.abort(new Error(`stopped by ${signal}`));
    // A connection that does not close must not keep the demo: the servers are stopped without it.
    setTimeout(() => process.exit(130), TIDY_UP_WITHIN).unref();
  });
}

const run = `demo-${randomBytes(4).toString('hex')}`;
const folder = await mkdtemp(join(tmpdir(), 'tenantkit-demo-'));
try {
  process.exitCode = (await demo()) ? 0 : 1;
} catch (error) {
  if (!stop.signal.aborted) throw error;
  process.exitCode = 130;
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function demo(): Promise<boolean> {
  heading('Servers');
  await using servers = await startServers({ redis: true, s3: true, opensearch: true, signal: stop.signal });
  const surfaces: readonly DemoSurface[] = await Promise.all([
    cacheSurface({ url: servers.redis.url }),
    storageSurface({ ...servers.s3, bucket: run }),
    queueSurface({ url: servers.redis.url, queue: run, signal: stop.signal }),
    searchSurface({ url: servers.opensearch.url, index: run }),
    cryptoSurface({ folder: join(folder, 'keys') }),
  ]);
  try {
    const rows: Row[] = [];
    for (const surface of surfaces) {
      stop.signal.throwIfAborted();
      rows.push(await show(surface));
    }
    const erased = await erase(surfaces);
    heading('Summary');
    summary(rows.map((row) => ({ ...row, erased: erased.get(row.surface) })));
    const good = rows.every(
      ({ own, other, none, surface }) => own && other && none && erased.get(surface) === true,
    );
    line(good ? pc.green('\nEverything is as it should be.') : pc.red('\nSomething is NOT as it should be.'));
    if (options.keep) await keep(servers.env());
    return good && erased.get('certificate') === true;
  } finally {
    await Promise.allSettled(surfaces.map((surface) => surface.close()));
  }
}

async function show(surface: DemoSurface): Promise<Row> {
  heading(surface.name);
  await surface.seed();
  return {
    surface: surface.name,
    own: attempts('own read', await surface.ownRead()),
    other: attempts('other tenant', await surface.otherTenant()),
    none: attempts('no tenant', await surface.noTenant()),
    erased: undefined,
  };
}

/** Erases {@link TENANT} from everything; answers per surface (and for the certificate) whether it is gone. */
async function erase(surfaces: readonly DemoSurface[]): Promise<ReadonlyMap<string, boolean>> {
  heading(`Erasing ${TENANT}`);
  const verdict = new Map<string, boolean>();
  const before = new Map<string, string>();
  for (const surface of surfaces) {
    before.set(surface.name, digest(await surface.raw(NEIGHBOUR)));
    const own = await surface.raw(TENANT);
    verdict.set(
      surface.name,
      fact(`${surface.name}: ${own.size} physical records of ${TENANT} before`, own.size > 0),
    );
  }

  const key = await generateSigningKey();
  const erasure = createErasure({
    stores: surfaces.map(({ eraser }) => eraser),
    ledger: sqliteLedger(join(folder, 'ledger.sqlite')),
    signer: await createSigner({ privateKey: key.privateKey }),
  });
  const { id } = await erasure.request({
    tenant: TENANT,
    reason: 'the customer has left',
    requestedBy: 'demo',
  });
  await erasure.plan(id);
  await erasure.approve(id, { by: 'demo' });
  await erasure.run(id, { signal: stop.signal });
  const certificate = await erasure.certificate(id);

  for (const surface of surfaces) {
    const left = await surface.raw(TENANT);
    const after = digest(await surface.raw(NEIGHBOUR));
    const gone = fact(`${surface.name}: ${left.size} physical records of ${TENANT} left`, left.size === 0);
    const untouched = fact(
      `${surface.name}: ${NEIGHBOUR} byte for byte as before (sha-256 ${after.slice(0, 16)}…)`,
      after === before.get(surface.name),
    );
    verdict.set(surface.name, verdict.get(surface.name) === true && gone && untouched);
  }

  heading('Certificate');
  const file = join(folder, 'certificate.jws');
  await writeFile(file, certificate);
  const { certificate: statement } = await verifyCertificate(certificate, { keys: [key.publicKey] });
  line(pc.dim(`  ${certificate.slice(0, 100)}…`));
  for (const { store, before: counted, remaining, control } of statement.stores) {
    const count = (items: readonly { readonly count: number }[]): number =>
      items.reduce((sum, item) => sum + item.count, 0);
    fact(
      `${store}: counted ${count(counted)} before, ${count(remaining)} after; positive control found ${control.found} of ${control.planted}`,
      count(remaining) === 0 && control.found === control.planted,
    );
  }
  const broken = `${certificate.slice(0, -2)}${certificate.endsWith('AA') ? 'BB' : 'AA'}`;
  const tampered = await verifyCertificate(broken, { keys: [key.publicKey] }).then(
    () => false,
    () => true,
  );
  verdict.set(
    'certificate',
    fact('verified offline with the public key; an altered copy was refused', tampered),
  );
  return verdict;
}

function digest(records: ReadonlyMap<string, Buffer>): string {
  const hash = createHash('sha256');
  for (const [name, bytes] of [...records].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    hash.update(`${name.length}:${name}${bytes.length}:`).update(bytes);
  }
  return hash.digest('hex');
}

async function keep(env: Readonly<Record<string, string>>): Promise<void> {
  heading('The servers stay up. Things to try from another terminal:');
  for (const [name, value] of Object.entries(env)) line(`  export ${name}='${value}'`);
  line(`  redis-cli -u $REDIS_URL --scan --pattern 'tk:*'`);
  line(`  curl -s "$OPENSEARCH_URL/${run}/_search?pretty"`);
  line(pc.bold('\nCtrl-C stops them.'));
  if (!stop.signal.aborted)
    await new Promise((resolve) => stop.signal.addEventListener('abort', resolve, { once: true }));
}

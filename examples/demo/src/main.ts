/**
 * The whole product on real servers, in one command: two tenants share one Redis, one bucket, one queue, one
 * index and one keyring; what must not be reached is tried; one tenant is erased from all of them, and the
 * proof is checked.
 *
 * `--keep` leaves the servers and the data up until Ctrl-C. Ends with 0 when everything was as it should be.
 */
import { createHash, randomBytes } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { isTenantkitError } from '@tenantkit/core';
import {
  createErasure,
  createSigner,
  generateSigningKey,
  sqliteLedger,
  verifyCertificate,
  type PublicJwk,
} from '@tenantkit/erasure';
import { startServers } from '@tenantkit/testing/servers';
import pc from 'picocolors';
import { attempts, fact, heading, line, summary, type Row } from './report.ts';
import { NEIGHBOUR, TENANT, answers, refused, type DemoSurface } from './surface.ts';
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
  if (!stop.signal.aborted && !isTenantkitError(error)) throw error;
  console.error(pc.red(error instanceof Error ? error.message : String(error)));
  process.exitCode = stop.signal.aborted ? 130 : 1;
} finally {
  await rm(folder, { recursive: true, force: true });
}

async function demo(): Promise<boolean> {
  heading('Servers');
  await using servers = await startServers({ redis: true, s3: true, opensearch: true, signal: stop.signal });
  line(`  redis       ${withoutCredentials(servers.redis.url)}`);
  line(`  s3          ${servers.s3.endpoint}`);
  line(`  opensearch  ${withoutCredentials(servers.opensearch.url)}`);
  const surfaces: readonly DemoSurface[] = [
    cacheSurface({ url: servers.redis.url }),
    await storageSurface({ ...servers.s3, bucket: run }),
    await queueSurface({ url: servers.redis.url, queue: run, signal: stop.signal }),
    await searchSurface({ url: servers.opensearch.url, index: run }),
    await cryptoSurface({ folder: join(folder, 'keys') }),
  ];
  try {
    const rows: Row[] = [];
    for (const surface of surfaces) {
      stop.signal.throwIfAborted();
      rows.push(await show(surface));
    }
    const erased = await erase(surfaces).catch(failed);
    heading('Summary');
    summary(rows.map((row) => ({ ...row, erased: erased.get(row.surface) })));
    line(
      pc.dim(
        '  nothing left: no client finds anything; what a server still holds on its disk is in the certificate.',
      ),
    );
    const good =
      rows.every(({ own, other, none }) => own && other && none) &&
      [...erased.values()].every((verdict) => verdict);
    line(good ? pc.green('\nEverything is as it should be.') : pc.red('\nSomething is NOT as it should be.'));
    if (options.keep) await keep(servers.env());
    return good;
  } finally {
    await Promise.allSettled(surfaces.map((surface) => surface.close()));
  }
}

function failed(error: unknown): ReadonlyMap<string, boolean> {
  stop.signal.throwIfAborted();
  fact(error instanceof Error ? error.message : String(error), false);
  return new Map([['erasure', false]]);
}

async function show(surface: DemoSurface): Promise<Row> {
  heading(surface.name);
  const seeded = await answers('both tenants write under the same names', 'written', async () => {
    await surface.seed();
    return 'written';
  });
  return {
    surface: surface.name,
    own: attempts('own read', [seeded, ...(await surface.ownRead())]),
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
      fact(
        `${surface.name}: ${own.size} physical records of ${TENANT} before, seen by a raw client`,
        own.size > 0,
      ),
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
    const gone = fact(
      `${surface.name}: ${left.size} physical records of ${TENANT} left, seen by a raw client`,
      left.size === 0,
    );
    const untouched = fact(
      `${surface.name}: ${NEIGHBOUR} byte for byte as before (sha-256 ${after.slice(0, 16)}…)`,
      after === before.get(surface.name),
    );
    verdict.set(surface.name, verdict.get(surface.name) === true && gone && untouched);
  }

  verdict.set('certificate', await check(certificate, key.publicKey));
  return verdict;
}

/** Verifies the certificate with nothing but the public key, shows it, and shows that an altered one is refused. */
async function check(certificate: string, publicKey: PublicJwk): Promise<boolean> {
  heading('Certificate');
  line(pc.dim(`  ${certificate.slice(0, 100)}…`));
  const { kid, certificate: statement } = await verifyCertificate(certificate, { keys: [publicKey] });
  const { tenant, outcome, approvedBy, times, stores } = statement;
  line(
    `  tenant ${tenant}, ${outcome} at ${times.completedAt}, approved by ${approvedBy}, key ${kid.slice(0, 16)}…`,
  );
  const counted = stores.map(({ store, before, remaining, control }) =>
    fact(
      `${store}: ${kinds(before)} before, ${count(remaining)} after; positive control found ${control.found} of ${control.planted}`,
      count(remaining) === 0 && control.found === control.planted,
    ),
  );
  for (const { store, kept } of stores) {
    for (const { kind, count: many, why } of kept) line(pc.dim(`    ${store} keeps ${many} ${kind}: ${why}`));
  }
  const [header = '', payload = '', signature = ''] = certificate.split('.');
  const altered = Buffer.from(payload, 'base64url').toString().replace(`"${TENANT}"`, `"${NEIGHBOUR}"`);
  const forged = [header, Buffer.from(altered).toString('base64url'), signature].join('.');
  const verdicts = [
    ...counted,
    (await answers('', tenant, () => tenantOf(certificate))).asItShouldBe,
    (await refused('', ['SIGNATURE_INVALID'], () => tenantOf(forged))).asItShouldBe,
  ];
  return fact(
    `verified offline with the public key; a copy that names ${NEIGHBOUR} was refused`,
    verdicts.every((holds) => holds),
  );

  async function tenantOf(text: string): Promise<string> {
    return (await verifyCertificate(text, { keys: [publicKey] })).certificate.tenant;
  }
}

/** `4 jobs, 4 keys, 11 events` */
function kinds(items: readonly { readonly kind: string; readonly count: number }[]): string {
  return items.map((item) => `${item.count} ${item.kind}`).join(', ');
}

function withoutCredentials(url: string): string {
  const shown = new URL(url);
  shown.username = '';
  shown.password = '';
  return shown.href;
}

function count(items: readonly { readonly count: number }[]): number {
  return items.reduce((sum, item) => sum + item.count, 0);
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

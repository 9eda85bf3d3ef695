import type { Finding, InventoryItem, Inventory, Kept } from '@tenantkit/core';
import type { Certificate, ErasureStatus, ErasureSummary } from '@tenantkit/erasure';
import { clean, type Output } from './output.ts';

const KIB = 1_024;
const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];

/** What would be erased and what would stay. */
export function showPlan(output: Output, inventories: readonly Inventory[]): void {
  output.table(
    ['store', 'would erase', 'would keep'],
    inventories.map(({ store, items, kept }) => [clean(store), showItems(items), showKept(kept)]),
  );
  for (const { store, notes = [] } of inventories)
    for (const note of notes) output.line(`${clean(store)}: ${clean(note)}`);
  warnOfNothing(output, inventories);
}

/** An erasure of nothing is certified like any other: whoever has mistyped an id is told. */
export function warnOfNothing(output: Output, inventories: readonly Inventory[]): void {
  const isEmpty = inventories.every(({ items, kept }) =>
    [...items, ...kept].every(({ count }) => count === 0),
  );
  if (isEmpty) output.note('No store knows anything of it. Is the id right?');
}

/** Where an erasure is. */
export function showStatus(output: Output, status: ErasureStatus): void {
  const { colors } = output;
  const [request] = status.requests;
  const rows: [string, string | undefined][] = [
    ['erasure', status.id],
    ['tenant', status.tenant],
    ['person', status.subject ?? (status.subjectDigest === undefined ? undefined : '(known by digest only)')],
    ['state', colors.bold(status.state.replaceAll('_', ' '))],
    ['reason', request === undefined ? undefined : clean(request.reason)],
    ['requested', request === undefined ? undefined : `${request.at} by ${clean(request.requestedBy)}`],
    ['planned', status.plan?.at],
    [
      'approved',
      status.approval === undefined ? undefined : `${status.approval.at} by ${clean(status.approval.by)}`,
    ],
    ['completed', status.completedAt],
  ];
  facts(output, rows);
  if (status.stores.length === 0) return;
  output.line();
  output.table(
    ['store', 'state', 'before', 'erased', 'kept', 'last failure'],
    status.stores.map((store) => [
      clean(store.store),
      store.state,
      showItems((store.counted ?? store.planned).items),
      showItems(store.erased),
      showKept(store.kept),
      store.failure === undefined
        ? ''
        : colors.red(clean(`${store.failure.phase}: ${store.failure.message}`)),
    ]),
  );
}

/** What a certificate states. */
export function showCertificate(output: Output, certificate: Certificate): void {
  const { fence, times } = certificate;
  facts(output, [
    ['erasure', certificate.erasure],
    ['tenant', certificate.tenant],
    ['person', certificate.subject === undefined ? undefined : `digest ${certificate.subject.digest}`],
    ['outcome', certificate.outcome.replaceAll('_', ' ')],
    ['reason', clean(certificate.reason)],
    ['requested', `${times.requestedAt} by ${clean(certificate.requestedBy)}`],
    ['approved', `${times.approvedAt} by ${clean(certificate.approvedBy)}`],
    ['erased', `${times.startedAt} to ${times.completedAt}`],
    ['complete', certificate.completeAt],
    [
      'fence',
      fence.mode === 'tenant'
        ? `frozen ${fence.frozenAt}, tombstone ${fence.tombstonedAt}`
        : NO_FENCE[fence.why],
    ],
    ['ledger', `entry ${certificate.ledger.seq}, ${certificate.ledger.hash}`],
  ]);
  output.line();
  output.table(
    ['store', 'before', 'erased', 'remaining', 'control', 'kept'],
    certificate.stores.map(({ store, before, erased, remaining, control, kept }) => [
      clean(store),
      showItems(before),
      showItems(erased),
      showItems(remaining),
      `${control.found} of ${control.planted} found`,
      showKept(kept),
    ]),
  );
}

/** The erasures of a ledger. */
export function showList(output: Output, erasures: readonly ErasureSummary[]): void {
  if (erasures.length === 0) {
    output.line('No erasures.');
    return;
  }
  output.table(
    ['erasure', 'tenant', 'scope', 'state', 'requested', 'updated'],
    erasures.map(({ id, tenant, person, state, requestedAt, updatedAt }) => [
      id,
      tenant,
      person ? 'person' : 'tenant',
      state.replaceAll('_', ' '),
      requestedAt,
      updatedAt,
    ]),
  );
}

/** What auditors have found. */
export function showFindings(output: Output, findings: readonly Finding[]): void {
  if (findings.length === 0) {
    output.line('Nothing found.');
    return;
  }
  const { red, yellow, dim } = output.colors;
  const paint = { critical: red, high: red, medium: yellow, low: yellow, info: dim } as const;
  output.table(
    ['severity', 'store', 'code', 'name', 'what', 'what to do'],
    findings.map(({ severity, store, code, name, message, hint }) => [
      paint[severity](severity),
      ...[store, code, name ?? '', message, hint].map(clean),
    ]),
  );
}

const NO_FENCE = {
  not_configured: 'none was configured: others could write meanwhile',
  subject_scope: 'none: the tenant of a person is not frozen',
} as const;

function facts(output: Output, rows: readonly (readonly [string, string | undefined])[]): void {
  for (const [name, value] of rows) {
    if (value !== undefined) output.line(`${output.colors.dim(name.padEnd(10))} ${value}`);
  }
}

function showItems(items: readonly InventoryItem[]): string {
  const shown = items.map(
    ({ kind, count, bytes }) =>
      `${count} ${clean(kind)}${bytes === undefined ? '' : ` (${showBytes(bytes)})`}`,
  );
  return shown.join(', ') || 'nothing';
}

function showKept(kept: readonly Kept[]): string {
  return kept
    .filter(({ count }) => count > 0)
    .map(({ kind, count, why, until }) =>
      clean(`${count} ${kind}: ${why}${until === undefined ? '' : `, until ${until}`}`),
    )
    .join('; ');
}

function showBytes(bytes: number): string {
  const unit = Math.min(Math.floor(Math.log(Math.max(bytes, 1)) / Math.log(KIB)), UNITS.length - 1);
  const value = bytes / KIB ** unit;
  return `${unit === 0 ? value : value.toFixed(1)} ${UNITS[unit]}`;
}

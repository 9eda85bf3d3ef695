import { hostname, userInfo } from 'node:os';
import { ConfigError, assertId, type ErasureScope, type Inventory } from '@tenantkit/core';
import { STATES, sqliteLedger, type Erasure, type ErasureStatus } from '@tenantkit/erasure';
import { writeCertificate } from './certificate.ts';
import { EXIT, type ExitCode } from './exit.ts';
import { progressView } from './progress.ts';
import type { Session } from './session.ts';
import { showPlan, showStatus, warnOfNothing } from './show.ts';

/** Options of `tenantkit erase`. */
export interface EraseOptions {
  readonly dryRun?: boolean;
  readonly approve?: boolean;
  readonly plan?: string;
  readonly yes?: boolean;
  readonly reason: string;
  readonly by?: string;
  readonly out?: string;
}

/** `tenantkit erase <tenant>[/<subject>]` */
export async function erase(session: Session, target: string, options: EraseOptions): Promise<ExitCode> {
  const scope = parseTarget(target);
  const who = options.by ?? operator();
  if (options.dryRun === true) return dryRun(session, scope, { reason: options.reason, requestedBy: who });

  const erasure = await session.erasure();
  if (options.approve === true) return approve(session, erasure, scope, who, options);
  const { id } = await erasure.request({ ...scope, reason: options.reason, requestedBy: who });
  const before = await erasure.status(id);
  if (isApproved(before)) {
    return options.yes === true ? run(session, erasure, id, options) : waiting(session, before);
  }
  const plan = await erasure.plan(id, { signal: session.signal });
  if (options.yes !== true) return waiting(session, await erasure.status(id), plan.inventories);
  tellPlan(session, plan.inventories);
  await erasure.approve(id, { by: who, revision: plan.revision });
  return run(session, erasure, id, options);
}

/** Runs an approved erasure to its end, and shows the certificate's place. */
export async function run(
  session: Session,
  erasure: Erasure,
  id: string,
  { out }: Pick<EraseOptions, 'out'>,
): Promise<ExitCode> {
  const progress = await progressView(session.streams);
  let status: ErasureStatus;
  try {
    status = await erasure.run(id, {
      signal: session.signal,
      onProgress: (event) => progress.show(event),
    });
  } finally {
    progress.stop();
  }
  const certificate = await erasure.certificate(id);
  if (out !== undefined) writeCertificate(out, certificate);
  session.output.result({ ...status, certificate }, (output) => {
    output.line();
    showStatus(output, status);
    output.note(
      out === undefined
        ? `The certificate: tenantkit certificate show ${id} --jws`
        : `The certificate is in ${out}; verify it with: tenantkit certificate verify ${out}`,
    );
  });
  return EXIT.done;
}

/** Tells that nothing more happens without somebody's word. */
export function waiting(
  session: Session,
  status: ErasureStatus,
  inventories?: readonly Inventory[],
): ExitCode {
  session.output.result({ ...status, waitingFor: isApproved(status) ? 'run' : 'approval' }, (output) => {
    if (inventories === undefined) showStatus(output, status);
    else showPlan(output, inventories);
    output.note(
      isApproved(status)
        ? `It is approved and not completed; go on with: tenantkit erasures resume ${status.id}`
        : `Nothing was erased. Approve and run it with: tenantkit erase ${targetOf(status)} --approve${shown(status)}`,
    );
  });
  return EXIT.waiting;
}

/** Whether a run may begin or has begun. */
export function isApproved({ state }: Pick<ErasureStatus, 'state'>): boolean {
  return STATES.indexOf(state) >= STATES.indexOf('approved');
}

/** What is erased next, for people; that it is nothing, for programs as well. */
function tellPlan({ output }: Session, inventories: readonly Inventory[]): void {
  if (output.json) warnOfNothing(output, inventories);
  else showPlan(output, inventories);
}

/** Counts, in a ledger that is forgotten: nothing of it is left anywhere. */
async function dryRun(
  session: Session,
  scope: ErasureScope,
  asked: { readonly reason: string; readonly requestedBy: string },
): Promise<ExitCode> {
  const ledger = sqliteLedger(':memory:');
  try {
    const erasure = await session.erasure(ledger);
    const { id } = await erasure.request({ ...scope, ...asked });
    const { inventories, plannedAt } = await erasure.plan(id, { signal: session.signal });
    session.output.result({ dryRun: true, ...scope, plannedAt, inventories }, (output) => {
      showPlan(output, inventories);
      output.note('Nothing was erased, and nothing was written down.');
    });
    return EXIT.done;
  } finally {
    await ledger.close();
  }
}

async function approve(
  session: Session,
  erasure: Erasure,
  scope: ErasureScope,
  by: string,
  options: EraseOptions,
): Promise<ExitCode> {
  const revision = parseRevision(options.plan);
  const open = await findOpen(erasure, scope);
  if (open?.plan === undefined) {
    throw new ConfigError({
      surface: 'cli',
      operation: 'erase',
      problem: 'nothing is planned that --approve could approve',
      hint: 'Plan it first with the same command without --approve, or do everything at once with --yes.',
    });
  }
  if (!isApproved(open)) {
    tellPlan(
      session,
      open.stores.map(({ planned }) => planned),
    );
    await erasure.approve(open.id, { by, revision: revision ?? open.plan.revision });
  }
  return run(session, erasure, open.id, options);
}

/** Names the plan that was shown: somebody may make another one before it is approved. */
function shown({ plan }: ErasureStatus): string {
  return plan === undefined ? '' : ` --plan ${plan.revision}`;
}

function parseRevision(given: string | undefined): number | undefined {
  if (given === undefined || /^[1-9]\d{0,14}$/.test(given))
    return given === undefined ? undefined : Number(given);
  throw new ConfigError({
    surface: 'cli',
    operation: 'erase',
    problem: '--plan is not a number',
    hint: 'Give the number that the plan was shown with.',
  });
}

async function findOpen(
  erasure: Erasure,
  { tenant, subject }: ErasureScope,
): Promise<ErasureStatus | undefined> {
  for (const { id } of await erasure.list({ tenant, open: true })) {
    const status = await erasure.status(id);
    if (status.subject === subject) return status;
  }
  return undefined;
}

function parseTarget(target: string): ErasureScope {
  const [tenant, subject, ...more] = target.split('/');
  assertId(tenant, 'tenant');
  if (subject === undefined) return { tenant };
  // Two slashes: more than an id can hold.
  assertId([subject, ...more].join('/'), 'subject');
  return { tenant, subject };
}

function targetOf({ tenant, subject }: ErasureScope): string {
  return subject === undefined ? tenant : `${tenant}/${subject}`;
}

function operator(): string {
  return `${userInfo().username}@${hostname()}`;
}

import { isTerminal } from '@tenantkit/erasure';
import { isApproved, run, waiting } from './erase.ts';
import { EXIT, type ExitCode } from './exit.ts';
import type { Session } from './session.ts';
import { showList, showStatus } from './show.ts';

/** `tenantkit erasures list` */
export async function list(
  session: Session,
  { tenant, open }: { readonly tenant?: string; readonly open?: boolean },
): Promise<ExitCode> {
  const erasure = await session.erasure();
  const erasures = await erasure.list({
    ...(tenant === undefined ? {} : { tenant }),
    ...(open === undefined ? {} : { open }),
  });
  session.output.result({ erasures }, (output) => showList(output, erasures));
  return EXIT.done;
}

/** `tenantkit erasures show <id>` */
export async function show(session: Session, id: string): Promise<ExitCode> {
  const erasure = await session.erasure();
  const status = await erasure.status(id);
  session.output.result(status, (output) => showStatus(output, status));
  return EXIT.done;
}

/** `tenantkit erasures resume <id>` */
export async function resume(
  session: Session,
  id: string,
  options: { readonly out?: string },
): Promise<ExitCode> {
  const erasure = await session.erasure();
  const status = await erasure.status(id);
  if (!isApproved(status) && !isTerminal(status.state)) return waiting(session, status);
  return run(session, erasure, id, options);
}

import { ConfigError, runInScope, type Finding, type Severity } from '@tenantkit/core';
import { EXIT, type ExitCode } from './exit.ts';
import type { Session } from './session.ts';
import { showFindings } from './show.ts';

const WORST_FIRST = ['critical', 'high', 'medium', 'low', 'info'] as const satisfies readonly Severity[];

/** `tenantkit audit`: asks every auditor of the configuration. What is only `info` leaves the exit code 0. */
export async function audit(session: Session, { store }: { readonly store?: string }): Promise<ExitCode> {
  const { auditors = [] } = await session.config();
  const asked = auditors.filter((auditor) => store === undefined || auditor.store === store);
  if (asked.length === 0) {
    throw new ConfigError({
      surface: 'cli',
      operation: 'audit',
      problem: store === undefined ? 'it names no auditors' : `it names no auditor of ${store}`,
      hint: 'Add `auditors` to the configuration: each adapter exports one, such as cacheAuditor(redis).',
    });
  }
  const found: Finding[] = [];
  for (const auditor of asked) {
    session.output.note(`asking ${auditor.store}`);
    await runInScope(undefined, async () => {
      for await (const finding of auditor.audit(session.signal)) found.push(finding);
    });
  }
  const findings = found.toSorted(
    (a, b) => WORST_FIRST.indexOf(a.severity) - WORST_FIRST.indexOf(b.severity),
  );
  session.output.result({ stores: asked.map((auditor) => auditor.store), findings }, (output) =>
    showFindings(output, findings),
  );
  return findings.some(({ severity }) => severity !== 'info') ? EXIT.findings : EXIT.done;
}

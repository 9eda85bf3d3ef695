import type { Severity } from '@tenantkit/core';

/** What may be found. */
export const FOUND = {
  job_outside_tenant: {
    severity: 'high',
    message: 'A job whose id belongs to no tenant: it never runs, and no erasure finds it.',
    hint: 'If the service has just changed from raw BullMQ, adopt it with adoptJobs. Else find out who adds jobs past tenantkit; remove it with a raw client.',
  },
  unsigned_job: {
    severity: 'high',
    message: 'A job without a header: it was written past tenantkit and never runs.',
    hint: 'Find out who writes to this Redis; remove it with queue.remove(id) in its tenant.',
  },
  invalid_signature: {
    severity: 'critical',
    message:
      'A job whose header does not verify: it was altered, copied, perhaps into another lane, or signed with another key. It never runs.',
    hint: 'Treat it as an incident unless a signing key was taken away too early.',
  },
  unknown_key: {
    severity: 'high',
    message: 'A job that was signed with a key which is not in the key ring: it never runs.',
    hint: 'Put the key back, behind the current one, until the jobs it has signed are finished. A scheduler gets the current key when a worker that can sign makes its next job, or when it is upserted anew.',
  },
  ended_unknown_key: {
    severity: 'info',
    message:
      'A finished job that was signed with a key which is not in the key ring: no list of its tenant has it.',
    hint: 'Nothing to do: it holds nothing up, and goes as finished jobs go. With the key it can be looked at again.',
  },
  erased_tenant_job: {
    severity: 'high',
    message: 'A job of a tenant that was erased.',
    hint: 'Run the erasure of the tenant again.',
  },
  unsigned_scheduler: {
    severity: 'high',
    message: 'A job scheduler without a header: it was written past tenantkit, and what it makes never runs.',
    hint: 'If the service has just changed from raw BullMQ, make it anew with upsertJobScheduler in its tenant. Else find out who writes to this Redis; remove it with a raw client.',
  },
  unreadable_key: {
    severity: 'critical',
    message:
      'A key that holds another thing than BullMQ or tenantkit keeps there: what it should hold is found by nobody.',
    hint: 'Find out who writes to this Redis past tenantkit; remove the key with a raw client.',
  },
  unplaced_tenant: {
    severity: 'high',
    message:
      'A name stands among those of tenants in silos, and place fails for it, or there is none: its silo was not looked at.',
    hint: 'Give the auditor the Queue, or the option place, and let it answer for every tenant; or remove the name if it is none. Then audit again.',
  },
  stopped_scheduler: {
    severity: 'high',
    message: 'A job scheduler without a job to come: it is listed, and makes none any more.',
    hint: 'Call upsertJobScheduler again in its tenant. Its last job was refused, or removed past tenantkit.',
  },
  missing_job: {
    severity: 'low',
    message: 'A state of the queue names a job that is not stored.',
    hint: 'It fails when a worker meets it, or take its name away with queue.remove(id) in its tenant.',
  },
  orphaned_job: {
    severity: 'low',
    message: 'A stored job that no state of the queue names: it never runs.',
    hint: 'Remove it with queue.remove(id) in its tenant; queue.removeOrphanedJobs inside acrossTenants takes all of them, and the metrics of every tenant as well.',
  },
  orphaned_parent: {
    severity: 'low',
    message: 'A job that waits for a child which will never tell it: it never runs.',
    hint: 'Look at its children; job.removeUnprocessedChildren in its tenant sets it free.',
  },
  orphaned_child: {
    severity: 'low',
    message: 'A job whose parent is not stored: it runs, and tells nobody.',
    hint: 'Nothing to do if the parent was removed alone; else find out who removes jobs past tenantkit.',
  },
} as const satisfies Record<string, { severity: Severity; message: string; hint: string }>;

/** The code of a finding. */
export type FindingCode = keyof typeof FOUND;

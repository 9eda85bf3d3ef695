import { currentTenant } from '@tenantkit/core';
import type { SandboxedJob } from '@tenantkit/queue';

export default (job: SandboxedJob<{ n: number }, string>): string =>
  `typed.ts ${currentTenant()?.tenant} ${job.id} ${job.data.n}`;

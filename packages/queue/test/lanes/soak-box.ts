import { currentTenant } from '@tenantkit/core';
import type { SandboxedJob } from '@tenantkit/queue';
import { Redis } from 'ioredis';
import type { SoakData } from './soak-run.ts';
import { runOnce } from './soak-run.ts';

// The processor of a thread: what it may use is what it gets with the job.
const clients = new Map<string, Redis>();

export default async (job: SandboxedJob<SoakData & { readonly url: string }>): Promise<void> => {
  const { url } = job.data;
  const redis = clients.get(url) ?? new Redis(url);
  clients.set(url, redis);
  await runOnce(redis, currentTenant()?.tenant, job);
};

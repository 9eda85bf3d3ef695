const { currentTenant } = await import('@tenantkit/core');

export default (job) => `awaited.mjs ${currentTenant().tenant} ${job.id} ${new URL(import.meta.url).search}`;

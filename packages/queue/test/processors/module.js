import { currentTenant } from '@tenantkit/core';

export default (job) => `module.js ${currentTenant().tenant} ${job.id}`;

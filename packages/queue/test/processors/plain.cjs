const { currentTenant } = require('@tenantkit/core');

module.exports = async (job) => `plain.cjs ${currentTenant().tenant} ${job.id}`;

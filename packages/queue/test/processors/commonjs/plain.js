const { currentTenant } = require('@tenantkit/core');

module.exports = (job) => `plain.js ${currentTenant().tenant} ${job.id}`;

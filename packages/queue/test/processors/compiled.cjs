// As TypeScript and Babel compile an ES module to CommonJS.
Object.defineProperty(exports, '__esModule', { value: true });
const { currentTenant } = require('@tenantkit/core');

exports.default = async (job) => `compiled.cjs ${currentTenant().tenant} ${job.id}`;

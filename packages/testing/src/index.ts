export { adapterContract, type AdapterContract, type ContractRunner } from './contract/index.ts';
export { freshBucket, type FreshBucket } from './fixtures/bucket.ts';
export type { Fresh } from './fixtures/fresh.ts';
export { freshRedis, type FreshRedis } from './fixtures/redis.ts';
export { freshSchema, type FreshSchema } from './fixtures/schema.ts';
export { freshIndex, type FreshIndex } from './fixtures/search-index.ts';
export { HOSTILE_TENANTS, INVALID_TENANTS, TENANTS } from './tenants.ts';

export { Cluster } from './cluster.ts';
export { Redis } from './redis.ts';

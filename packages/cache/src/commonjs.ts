import * as all from './index.ts';
import { hangExports } from './client-calls.ts';

const { Redis } = all;

// As with ioredis, what is required is the class, with everything else on it.
const others = Object.entries(all).filter(([name]) => !Object.hasOwn(Redis, name));
hangExports(Redis, Object.fromEntries(others.map(([name, value]) => [name, () => value])));

export * from './index.ts';
export { Redis as default, Redis as 'module.exports' };

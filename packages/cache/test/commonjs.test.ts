import * as all from '@tenantkit/cache';
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';

// As ioredis's own README begins for CommonJS.
const PROGRAM = `
  const Redis = require('@tenantkit/cache');
  const redis = new Redis({ lazyConnect: true });
  const names = ${JSON.stringify(Object.keys(all))};
  import('@tenantkit/cache').then((all) => console.log(JSON.stringify({
    missing: names.filter((name) => Redis[name] !== all[name]),
    isOne: Redis === all.Redis && Redis === all.default,
    isGuarded: redis.options.tenant !== undefined,
  })));
`;

describe('require', () => {
  it('answers the class, with all that is exported on it, and the same as import', async () => {
    const conditions = ['--conditions=@tenantkit/source'];
    const { stdout } = await promisify(execFile)(process.execPath, [...conditions, '-e', PROGRAM], {
      cwd: import.meta.dirname,
    });
    expect(JSON.parse(stdout)).toEqual({ missing: [], isOne: true, isGuarded: true });
  });
});

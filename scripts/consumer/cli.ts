import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { defineConfig } from '@tenantkit/cli';

assert.equal(typeof defineConfig, 'function');
const help = execFileSync('node_modules/.bin/tenantkit', ['--help'], { encoding: 'utf8' });
assert.match(help, /erase/);

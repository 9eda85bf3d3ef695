#!/usr/bin/env node
import { tooOld } from './node-version.ts';

const problem = tooOld(process.versions.node);
// Asked before anything is loaded: an older Node would end with a stack about node:sqlite.
if (problem === undefined) await import('./main.ts');
else {
  process.stderr.write(`error CONFIG_INVALID: ${problem}\n`);
  process.exitCode = 2;
}

export { default } from '../packages/testing/src/vitest.ts';

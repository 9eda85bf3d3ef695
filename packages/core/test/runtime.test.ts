import { expect, it } from 'vitest';
import { assertRuntime } from '../src/runtime.ts';

it('a runtime that lacks what the packages use is refused by name, this one is not', () => {
  expect(() => assertRuntime({ promise: {}, version: '20.20.2' })).toThrow(
    expect.objectContaining({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('Node 22.12 or newer is needed, and this is 20.20.2'),
    }),
  );
  expect(() => assertRuntime({ promise: {}, version: undefined })).toThrow(/is needed\. Run/);
  expect(() => assertRuntime()).not.toThrow();
});

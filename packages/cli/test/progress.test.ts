import { clearLine, cursorTo, moveCursor } from 'node:readline';
import { PassThrough } from 'node:stream';
import type { ErasureProgress } from '@tenantkit/erasure';
import { describe, expect, it } from 'vitest';
import { progressView } from '../src/progress.ts';

const EVENTS: readonly ErasureProgress[] = [
  { type: 'state', state: 'purging' },
  { type: 'waiting', remaining: 2_000, total: 2_000 },
  { type: 'waiting', remaining: 1_000, total: 2_000 },
  { type: 'store', store: 'ca\u001B[2Jche', phase: 'erase', status: 'started' },
  { type: 'store', store: 'cache', phase: 'erase', status: 'working', kind: 'keys', done: 5, total: 9 },
  { type: 'store', store: 'cache', phase: 'erase', status: 'done' },
  { type: 'store', store: 'search', phase: 'erase', status: 'failed' },
];

async function shown(terminal: { readonly isTTY?: boolean; readonly columns?: number }): Promise<string> {
  const stream = new PassThrough();
  const err = Object.assign(stream, terminal, {
    cursorTo: (x: number) => cursorTo(stream, x),
    clearLine: (direction: -1 | 0 | 1) => clearLine(stream, direction),
    moveCursor: (x: number, y: number) => moveCursor(stream, x, y),
  });
  const view = await progressView({ out: err, err });
  for (const event of EVENTS) view.show(event);
  view.stop();
  err.end();
  return (await err.setEncoding('utf8').toArray()).join('');
}

const PLAIN = `purging
frozen; waiting 2 s until no process can still write
cache: erasing
cache: erased
search: erasing failed
`;

describe('progress', () => {
  it.each([
    ['a pipe', {}],
    ['a terminal of unknown width', { isTTY: true, columns: 0 }],
  ])('is plain lines on %s', async (_, terminal) => {
    expect(await shown(terminal)).toBe(PLAIN);
  });

  it('is a moving line on a terminal', async () => {
    const text = await shown({ isTTY: true, columns: 80 });
    expect(text).toContain('cache: erased\n');
    expect(text).toContain('search: erasing failed\n');
    expect(text).not.toContain('\u001B[2J');
  });
});

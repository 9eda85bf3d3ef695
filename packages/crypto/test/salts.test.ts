import { describe, expect, it } from 'vitest';
import { SaltPool } from '../src/salts.ts';

/** Fills with 1, then 2, then 3, so that a salt shows which block it came from. */
function numbered(): { readonly fill: (block: Buffer) => void; readonly count: () => number } {
  let filled = 0;
  return {
    fill(block) {
      filled += 1;
      block.fill(filled);
    },
    count: () => filled,
  };
}

describe('the pool of salts', () => {
  it('deals every byte of a block once, then asks for the next block', () => {
    let next = 0;
    const pool = new SaltPool(
      (block) => {
        for (let at = 0; at < block.length; at += 4) {
          block.writeUInt32BE(next, at);
          next += 1;
        }
      },
      () => 0,
    );
    const seen = new Set<string>();
    for (let count = 0; count < 1_000; count += 1) {
      const salt = pool.next();
      expect(salt).toHaveLength(24);
      seen.add(Buffer.from(salt).toString('hex'));
    }
    expect(seen.size).toBe(1_000);
  });

  it('throws the rest of a block away when it is old, or the clock was set back', () => {
    let time = 1_000_000;
    const { fill, count } = numbered();
    const pool = new SaltPool(fill, () => time);
    expect(pool.next()[0]).toBe(1);
    time += 1_000;
    expect(pool.next()[0]).toBe(1);
    time += 1;
    // A clone of this process that was started from a snapshot goes on here: with bytes of its own.
    expect(pool.next()[0]).toBe(2);
    time -= 1;
    expect(pool.next()[0]).toBe(3);
    expect(count()).toBe(3);
  });
});

/**
 * The field GF(2^128) of GCM, to solve for a ciphertext whose tag holds under two keys. Bits are numbered as in
 * NIST SP 800-38D: the first bit of a block is the coefficient of x^0, and the highest bit of the number here.
 */
const R = 0xe1n << 120n;

export function fromBytes(block: Uint8Array): bigint {
  return BigInt(`0x${Buffer.from(block).toString('hex')}`);
}

export function toBytes(value: bigint): Buffer {
  return Buffer.from(value.toString(16).padStart(32, '0'), 'hex');
}

export function multiply(x: bigint, y: bigint): bigint {
  let product = 0n;
  let shifted = y;
  for (let bit = 127n; bit >= 0n; bit -= 1n) {
    if (((x >> bit) & 1n) === 1n) product ^= shifted;
    shifted = (shifted & 1n) === 1n ? (shifted >> 1n) ^ R : shifted >> 1n;
  }
  return product;
}

/** x^(2^128 - 2), which is 1/x. */
export function invert(x: bigint): bigint {
  let result = ONE;
  let square = x;
  for (let bit = 1; bit < 128; bit += 1) {
    square = multiply(square, square);
    result = multiply(result, square);
  }
  return result;
}

export const ONE: bigint = 1n << 127n;

/** GHASH of blocks under the hash key. */
export function ghash(key: bigint, blocks: readonly bigint[]): bigint {
  return blocks.reduce((sum, block) => multiply(sum ^ block, key), 0n);
}

/** Bytes as blocks, the last one filled up with zeros. */
export function blocksOf(bytes: Uint8Array): bigint[] {
  const blocks: bigint[] = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const block = Buffer.alloc(16);
    block.set(bytes.subarray(at, at + 16));
    blocks.push(fromBytes(block));
  }
  return blocks;
}

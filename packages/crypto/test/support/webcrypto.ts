/**
 * A second implementation of docs/crypto-format.md, on WebCrypto and written from that page alone: it imports
 * nothing of the package. Straightforward on purpose; it is what the product is compared with.
 */
const { subtle } = globalThis.crypto;

type Bytes = Uint8Array<ArrayBuffer>;

export interface Place {
  readonly tenant: string;
  readonly epoch: number;
  readonly table: string;
  readonly column: string;
  readonly row?: string;
}

export function utf8(text: string): Bytes {
  return new TextEncoder().encode(text);
}

export function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function unhex(text: string): Bytes {
  return Uint8Array.from(text.match(/../g) ?? [], (pair) => Number.parseInt(pair, 16));
}

export function joined(...parts: readonly Uint8Array[]): Bytes {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export function u32(value: number): Bytes {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value);
  return bytes;
}

export function LP(...fields: readonly (string | Uint8Array)[]): Bytes {
  return joined(
    ...fields.flatMap((field) => {
      const bytes = typeof field === 'string' ? utf8(field) : field;
      return [u32(bytes.length), bytes];
    }),
  );
}

export async function HKDF(key: Bytes, info: Bytes, length: number): Promise<Bytes> {
  const imported = await subtle.importKey('raw', key, 'HKDF', false, ['deriveBits']);
  const algorithm = { name: 'HKDF', hash: 'SHA-512', salt: new Uint8Array(0), info };
  return new Uint8Array(await subtle.deriveBits(algorithm, imported, length * 8));
}

export async function HMAC(key: Bytes, data: Bytes): Promise<Bytes> {
  const imported = await subtle.importKey('raw', key, { name: 'HMAC', hash: 'SHA-512' }, false, ['sign']);
  return new Uint8Array(await subtle.sign('HMAC', imported, data));
}

async function gcm(
  what: 'encrypt' | 'decrypt',
  key: Bytes,
  iv: Bytes,
  additionalData: Bytes,
  data: Bytes,
): Promise<Bytes> {
  const imported = await subtle.importKey('raw', key, 'AES-GCM', false, [what]);
  return new Uint8Array(
    await subtle[what]({ name: 'AES-GCM', iv, additionalData, tagLength: 128 }, imported, data),
  );
}

export function columnKey(secret: Bytes, { tenant, table, column }: Place): Promise<Bytes> {
  return HKDF(secret, LP('tenantkit/crypto/column/v1', Uint8Array.of(0x01), tenant, table, column), 32);
}

export function contextOf({ epoch, tenant, table, column, row }: Place): Bytes {
  const header = joined(Uint8Array.of(0x01, 0x01), u32(epoch));
  return row === undefined ? LP(header, tenant, table, column) : LP(header, tenant, table, column, row);
}

async function derive(secret: Bytes, place: Place, salt: Bytes): Promise<{ key: Bytes; commitment: Bytes }> {
  const derived = await HMAC(await columnKey(secret, place), joined(salt, contextOf(place)));
  return { key: derived.slice(0, 32), commitment: derived.slice(32) };
}

export async function encrypt(
  secret: Bytes,
  place: Place,
  plaintext: Bytes,
  salt: Bytes = globalThis.crypto.getRandomValues(new Uint8Array(24)),
): Promise<Bytes> {
  const { key, commitment } = await derive(secret, place, salt);
  const sealed = await gcm('encrypt', key, new Uint8Array(12), contextOf(place), plaintext);
  return joined(Uint8Array.of(0x01, 0x01), u32(place.epoch), salt, commitment, sealed);
}

export async function decrypt(secret: Bytes, place: Place, message: Bytes): Promise<Bytes> {
  if (message.length < 78 || message[0] !== 0x01 || message[1] !== 0x01) throw new Error('not a message');
  if (new DataView(message.buffer, message.byteOffset).getUint32(2) !== place.epoch) throw new Error('epoch');
  const { key, commitment } = await derive(secret, place, message.slice(6, 30));
  let different = 0;
  for (const [at, byte] of commitment.entries()) different |= byte ^ (message[30 + at] ?? 0);
  if (different !== 0) throw new Error('commitment');
  return gcm('decrypt', key, new Uint8Array(12), contextOf(place), message.slice(62));
}

const ALPHABET = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_';

export function toText(message: Uint8Array): string {
  let bits = '';
  for (const byte of message) bits += byte.toString(2).padStart(8, '0');
  const text = bits.replace(/.{1,6}/g, (group) => ALPHABET[Number.parseInt(group.padEnd(6, '0'), 2)] ?? '');
  return `tk1.${text}`;
}

export function fromText(text: string): Bytes {
  if (!text.startsWith('tk1.')) throw new Error('not a text');
  let bits = '';
  for (const character of text.slice(4)) bits += ALPHABET.indexOf(character).toString(2).padStart(6, '0');
  const message = Uint8Array.from(bits.match(/.{8}/g) ?? [], (byte) => Number.parseInt(byte, 2));
  if (toText(message) !== text) throw new Error('not canonical');
  return message;
}

export async function wrap(
  master: Bytes,
  { tenant, epoch }: Pick<Place, 'tenant' | 'epoch'>,
  secret: Bytes,
  nonce: Bytes,
): Promise<{ kek: Bytes; id: string; wrapped: Bytes }> {
  const kek = await HKDF(master, LP('tenantkit/crypto/kek/v1'), 32);
  const id = hex(await HKDF(master, LP('tenantkit/crypto/master-id/v1'), 8));
  const aad = LP('tenantkit/crypto/wrap/v1', tenant, u32(epoch), 'tenant');
  return { kek, id, wrapped: joined(nonce, await gcm('encrypt', kek, nonce, aad, secret)) };
}

export async function unwrap(
  master: Bytes,
  { tenant, epoch }: Pick<Place, 'tenant' | 'epoch'>,
  wrapped: Bytes,
): Promise<Bytes> {
  const kek = await HKDF(master, LP('tenantkit/crypto/kek/v1'), 32);
  const aad = LP('tenantkit/crypto/wrap/v1', tenant, u32(epoch), 'tenant');
  return gcm('decrypt', kek, wrapped.slice(0, 12), aad, wrapped.slice(12));
}

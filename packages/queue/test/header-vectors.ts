import { readFileSync } from 'node:fs';
import { z } from 'zod';
import type { JobBinding, JobClaims } from '../src/header.ts';

const text = z.string();
const job = {
  comment: text,
  kid: text,
  prefix: text,
  queue: text,
  claims: text,
  name: text,
  id: text,
  scheduler: text,
  parentKey: text,
  parent: text,
  deduplication: text,
  storedOptions: text,
  canonicalOptions: text,
  data: text,
  header: text,
};
const vector = z.strictObject({ ...job, secretHex: text, keyHex: text, macInputHex: text });
const pair = z.strictObject({ ...job, seedHex: text, publicKeyHex: text, messageHex: text });
const invalid = z.array(z.strictObject({ comment: text, header: text, reason: text }));

/** docs/vectors/job-header.json. */
export const VECTORS = z
  .strictObject({
    description: text,
    salt: text,
    vectors: z.tuple([vector], vector),
    invalid,
    ed25519: z.strictObject({
      vectors: z.tuple([pair], pair),
      invalid,
      refusedKeys: z.array(z.strictObject({ comment: text, publicKeyHex: text })),
    }),
  })
  .parse(JSON.parse(readFileSync(new URL('../../../docs/vectors/job-header.json', import.meta.url), 'utf8')));

export type MacVector = z.infer<typeof vector>;
export type PairVector = z.infer<typeof pair>;

/** What the header of a vector is bound to. */
export function bindingOf(v: MacVector | PairVector): JobBinding {
  const { prefix, queue, name, id, scheduler, parentKey, parent, deduplication, data } = v;
  const options = v.canonicalOptions;
  return { prefix, queue, name, id, scheduler, parentKey, parent, deduplication, options, data };
}

/** What the header of a vector says. */
export function claimsOf(v: MacVector | PairVector): JobClaims {
  const [tenant, subject, actor, issuedAt] = z
    .tuple([text, text.nullable(), text.nullable(), z.number()])
    .parse(JSON.parse(v.claims));
  return {
    tenant,
    ...(subject === null ? {} : { subject }),
    ...(actor === null ? {} : { actor }),
    issuedAt,
  };
}

/** The job of a vector as Redis has it. */
export function hashOf(v: MacVector | PairVector, header: string = v.header): Record<string, string> {
  return {
    name: v.name,
    data: v.data,
    opts: JSON.stringify({ 'tk!': header, ...(JSON.parse(v.storedOptions) as object) }),
    ...(v.scheduler === '' ? {} : { rjk: v.scheduler }),
    ...(v.parentKey === '' ? {} : { parentKey: v.parentKey, parent: v.parent }),
    ...(v.deduplication === '' ? {} : { deid: v.deduplication }),
  };
}

import { createHmac, hkdfSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { z } from 'zod';
import { queueKeyRing } from '../src/keys.ts';
import { jobNames } from '../src/names.ts';
import { verifyTemplate } from '../src/schedulers/template.ts';
import { verifyJob } from '../src/verify.ts';

const text = z.string();
const hash = z.record(text, text);
const file = z.strictObject({
  description: text,
  salt: text,
  vectors: z
    .array(
      z.strictObject({
        comment: text,
        secretHex: text,
        kid: text,
        prefix: text,
        queue: text,
        claims: text,
        scheduler: text,
        canonicalOptions: text,
        macInputHex: text,
        header: text,
        template: hash,
        job: z.strictObject({ id: text, hash }),
      }),
    )
    .min(3),
});
const { salt, vectors } = file.parse(
  JSON.parse(readFileSync(new URL('../../../docs/vectors/job-scheduler.json', import.meta.url), 'utf8')),
);
type Vector = (typeof vectors)[number];

const verifierOf = ({ prefix, queue, kid, secretHex }: Vector) => ({
  prefix,
  queue,
  ring: queueKeyRing([{ kid, secret: Buffer.from(secretHex, 'hex') }], prefix, queue),
  names: jobNames(),
});
const tenantOf = ({ claims }: Vector): string => String((JSON.parse(claims) as unknown[])[0]);

/** Each text behind its number of bytes, from the page alone. */
function prefixed(fields: readonly string[]): Buffer {
  return Buffer.concat(
    fields.flatMap((given) => {
      const length = Buffer.alloc(4);
      length.writeUInt32BE(Buffer.byteLength(given));
      return [length, Buffer.from(given)];
    }),
  );
}

describe('vectors of schedulers', () => {
  it.each(vectors)('$comment: the scheduler and its job are verified as they are stored', (v) => {
    const tenant = tenantOf(v);
    const verifier = verifierOf(v);
    expect(verifyTemplate(verifier, v.template, v.scheduler, tenant).claims).toMatchObject({ tenant });
    expect(verifyJob(verifier, v.job.hash, v.job.id, tenant)).toMatchObject({ tenant, actor: 'ops' });
    // Genuine, and in a lane that is not its tenant's, or in none.
    for (const lane of ['other', undefined]) {
      const refused = { code: 'SIGNATURE_INVALID', reason: 'mismatch' };
      expect(() => verifyTemplate(verifier, v.template, v.scheduler, lane)).toThrow(
        expect.objectContaining(refused) as Error,
      );
      expect(() => verifyJob(verifier, v.job.hash, v.job.id, lane)).toThrow(
        expect.objectContaining(refused) as Error,
      );
    }
  });

  it.each(vectors)('$comment: the same from the page alone', (v) => {
    const { prefix, queue, scheduler, header, template, canonicalOptions } = v;
    const signed = header.slice(0, header.lastIndexOf('.'));
    const { name = '', data = '{}' } = template;
    const bytes = prefixed([signed, prefix, queue, name, '', scheduler, '', '', '', canonicalOptions, data]);
    expect(bytes.toString('hex')).toBe(v.macInputHex);
    const info = prefixed([prefix, queue]);
    const key = Buffer.from(hkdfSync('sha256', Buffer.from(v.secretHex, 'hex'), salt, info, 32));
    expect(`${signed}.${createHmac('sha256', key).update(bytes).digest('base64url')}`).toBe(header);
    expect(Buffer.from(signed.split('.')[2] ?? '', 'base64url').toString()).toBe(v.claims);
  });
});

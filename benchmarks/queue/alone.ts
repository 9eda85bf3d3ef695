import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { canonicalJson } from '../../packages/queue/src/canonical.ts';
import { HEADER, signHeader } from '../../packages/queue/src/header.ts';
import { storedOptions } from '../../packages/queue/src/job-options.ts';
import { queueKeyRing, type QueueKeyRing } from '../../packages/queue/src/keys.ts';
import { jobNames } from '../../packages/queue/src/names.ts';
import { verifyJob, type JobHash } from '../../packages/queue/src/verify.ts';
import { interval, median } from '../statistics.ts';

/** What a step takes, in µs of processor time per job, and between what that lies. */
export interface Step {
  readonly name: string;
  readonly micros: number;
  readonly low: number;
  readonly high: number;
}

/** The step that has a target, with a secret. */
export const BOTH = 'sign and verify 1 KiB';

const JOBS = 5_000;
const WARM_UP = 3;
const [PREFIX, QUEUE] = ['bull', 'bench'];
const OPTIONS = { attempts: 3, backoff: { type: 'exponential', delay: 1_000 }, removeOnComplete: true };
const DATA = JSON.stringify({ text: 'x'.repeat(1_013) });

const { privateKey } = generateKeyPairSync('ed25519');
const RINGS = {
  HMAC: queueKeyRing(
    [{ kid: 'one', secret: 'a secret of the benchmark, of 32 bytes or more' }],
    PREFIX,
    QUEUE,
  ),
  Ed25519: queueKeyRing([{ kid: 'one', privateKey }], PREFIX, QUEUE),
};
const claims = { tenant: 'acme', subject: 'p1', actor: 'ada', issuedAt: Date.now() };

/** Signing and verifying jobs of 1 KiB: what is made of a job's options and data, and nothing is sent. */
export function alone(rounds: number): readonly Step[] {
  return [...withRing(rounds, RINGS.HMAC, ''), ...withRing(rounds, RINGS.Ed25519, ', Ed25519')];
}

function withRing(rounds: number, ring: QueueKeyRing, kind: string): readonly Step[] {
  const verifier = { prefix: PREFIX, queue: QUEUE, ring, names: jobNames() };
  const taken = { sign: [] as number[], verify: [] as number[], both: [] as number[] };
  const ids = Array.from({ length: JOBS }, () => `acme~${randomUUID()}`);
  for (let round = -WARM_UP; round < rounds; round += 1) {
    globalThis.gc?.();
    const begun = process.cpuUsage();
    const headers = ids.map((id) => sign(ring, id));
    const signing = since(begun);
    const stored = headers.map(asStored);
    globalThis.gc?.();
    const begunAgain = process.cpuUsage();
    for (const [at, id] of ids.entries()) verifyJob(verifier, stored[at] ?? {}, id, claims.tenant);
    const verifying = since(begunAgain);
    if (round < 0) continue;
    taken.sign.push(signing);
    taken.verify.push(verifying);
    taken.both.push(signing + verifying);
  }
  return Object.entries({
    [`sign 1 KiB${kind}`]: taken.sign,
    [`verify 1 KiB${kind}`]: taken.verify,
    [`${BOTH}${kind}`]: taken.both,
  }).map(([name, values]) => ({ name, micros: median(values), ...interval(values) }));
}

/** Processor time of this process, the collection of its garbage included, in µs per job. */
function since(begun: NodeJS.CpuUsage): number {
  const { user, system } = process.cpuUsage(begun);
  return (user + system) / JOBS;
}

function sign(ring: QueueKeyRing, id: string): string {
  return signHeader(ring, claims, {
    prefix: PREFIX,
    queue: QUEUE,
    name: 'n',
    id,
    scheduler: '',
    parentKey: '',
    parent: '',
    deduplication: '',
    options: canonicalJson(storedOptions(OPTIONS)),
    data: DATA,
  });
}

/** A job's hash as the server has it. */
function asStored(header: string): JobHash {
  return { name: 'n', data: DATA, opts: JSON.stringify({ ...OPTIONS, [HEADER]: header }) };
}

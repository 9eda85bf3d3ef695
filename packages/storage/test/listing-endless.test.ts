import { createServer } from 'node:http';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { ConfigError } from '@tenantkit/core';
import { storageAuditor, storageEraser, type S3Client } from '@tenantkit/storage';
import { beforeAll, describe, expect, it } from 'vitest';
import { run } from './erase-support.ts';
import { clientOf } from './own-server.ts';

// A server that a tenant has chosen for itself: each page of its list has a thousand keys that were never there before.

setFlagsFromString('--expose_gc');
const collect = runInNewContext('gc') as () => void;

const PAGE = 1_000;
const EMPTY: Readonly<Record<string, string>> = {
  versioning: '<VersioningConfiguration/>',
  uploads: '<ListMultipartUploadsResult/>',
  delete: '<DeleteResult/>',
};

let pages = 0;
/** Called with the number of each page, before it is sent. */
let onPage: (page: number) => void = () => undefined;
const server = createServer((request, response) => {
  const { searchParams, pathname } = new URL(request.url ?? '', 'http://server');
  request.resume().on('end', () => {
    const known = Object.keys(EMPTY).find((name) => searchParams.has(name));
    const prefix = searchParams.get('prefix');
    // Of what verifications have left there is nothing, or it would be erased for ever in all erasures.
    const endless =
      searchParams.get('list-type') === '2' && prefix !== null && !prefix.includes('tk-control-');
    if (!endless) {
      const nothing = searchParams.has('list-type') ? '<ListBucketResult/>' : undefined;
      const body = nothing ?? EMPTY[known ?? ''];
      // A marker's object, which is there, too.
      const status = body !== undefined || request.method !== 'GET' || pathname.includes('acme') ? 200 : 501;
      response.writeHead(status, { 'content-type': 'application/xml' });
      response.end(body ?? (status === 501 ? '<Error><Code>NotImplemented</Code></Error>' : ''));
      return;
    }
    pages += 1;
    onPage(pages);
    const keys = Array.from({ length: PAGE }, (_, index) => `${prefix}${'k'.repeat(600)}-${pages}-${index}`);
    const contents = keys.map((key) => `<Contents><Key>${key}</Key><Size>1</Size></Contents>`).join('');
    response.setHeader('content-type', 'application/xml');
    response.end(
      `<ListBucketResult><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>${pages}</NextContinuationToken>${contents}</ListBucketResult>`,
    );
  });
});

let s3: S3Client;
beforeAll(async () => {
  const opened = await clientOf(server, { buckets: ['uploads'], subjects: ['users/{subject}/**'] });
  ({ s3 } = opened);
  return opened.close;
});

const SCOPE = { tenant: 'acme' };
const PERSON = { tenant: 'acme', subject: 'p' };
const eraser = () => storageEraser(s3, { bucket: 'uploads' });
const audit = async (signal: AbortSignal): Promise<void> => {
  const found = storageAuditor(s3, { bucket: 'uploads', objectAcls: false }).audit(signal);
  for await (const { code } of found) expect(code).toBeDefined();
};
type Work = (signal: AbortSignal) => Promise<unknown>;
const WORKS = {
  'a plan': (signal) => eraser().plan(SCOPE, signal),
  'a verification': (signal) => eraser().verify(SCOPE, signal),
  'an erasure': (signal) => eraser().erase(SCOPE, run({ signal })),
  'an audit': audit,
  'a plan for a person': (signal) => eraser().plan(PERSON, signal),
  'a verification for a person': (signal) => eraser().verify(PERSON, signal),
  'an erasure of a person': (signal) => eraser().erase(PERSON, run({ signal })),
} as const satisfies Readonly<Record<string, Work>>;

/** Lets it go on until so many pages were asked for, then stops it. */
async function stopped(
  work: Work,
  after: number,
): Promise<{ readonly error: unknown; readonly further: number }> {
  const controller = new AbortController();
  pages = 0;
  onPage = (page) => {
    if (page === after) controller.abort(new Error('stopped'));
  };
  const error = await work(controller.signal).then(
    () => undefined,
    (failed: unknown) => failed,
  );
  return { error, further: pages - after };
}

describe('where the server lists without end', () => {
  it.each(Object.entries(WORKS))('%s ends with its signal, and asks for no more', async (_, work) => {
    const { error, further } = await stopped(work, 2);
    expect(error).toEqual(new Error('stopped'));
    expect(further).toBe(0);
    const before = pages;
    const aborted = AbortSignal.abort(new Error('stopped before'));
    await expect(work(aborted)).rejects.toThrow('stopped before');
    expect(pages).toBe(before);
  });

  it.each(['a plan', 'an erasure', 'an audit'] as const)(
    '%s keeps nothing of what it has seen',
    async (name) => {
      const heaps: number[] = [];
      const controller = new AbortController();
      pages = 0;
      onPage = (page) => {
        if (page !== 5 && page !== 30) return;
        collect();
        heaps.push(process.memoryUsage().heapUsed);
        if (page === 30) controller.abort(new Error('stopped'));
      };
      await expect(WORKS[name](controller.signal)).rejects.toThrow('stopped');
      const [early = 0, late = 0] = heaps;
      // Twenty-five pages, of which each has 600 KB of keys.
      expect(late - early).toBeLessThan(25 * PAGE * 600 * 0.5);
    },
  );

  it('an erasure tells how far it is, page by page', async () => {
    const told: number[] = [];
    const controller = new AbortController();
    const stop = (): void => controller.abort(new Error('stopped'));
    pages = 0;
    onPage = () => undefined;
    const progress = ({ done }: { readonly done: number }): void => {
      told.push(done);
      if (told.length === 5) stop();
    };
    await expect(eraser().erase(SCOPE, run({ signal: controller.signal, progress }))).rejects.toThrow(
      'stopped',
    );
    expect(told.slice(0, 5)).toEqual([1, 2, 3, 4, 5].map((page) => page * PAGE));
  });
});

it('a signal that is none is refused, before anything is asked', async () => {
  const before = pages;
  for (const call of [() => eraser().plan(SCOPE, {} as never), () => eraser().verify(SCOPE, 'now' as never)])
    await expect(call()).rejects.toThrow(ConfigError);
  expect(pages).toBe(before);
});

import { createServer, request as forward, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import {
  ListObjectVersionsCommand as RawListObjectVersionsCommand,
  PutObjectCommand as RawPutObjectCommand,
  type ListObjectVersionsCommandOutput,
} from '@aws-sdk/client-s3';
import type { EraseRun } from '@tenantkit/core';
import { S3Client, type StorageTenantOptions } from '@tenantkit/storage';
import type { Opened } from './open.ts';

/** What an orchestrator gives; it keeps the checkpoint in memory. */
export const run = (
  more: Partial<EraseRun> = {},
): EraseRun & { readonly saved: () => string | undefined } => {
  let saved: string | undefined;
  return {
    signal: new AbortController().signal,
    checkpoint: {
      load: () => Promise.resolve(saved),
      save: (state) => {
        saved = state;
        return Promise.resolve();
      },
    },
    progress: () => undefined,
    saved: () => saved,
    ...more,
  };
};

/** Writes past tenantkit. */
export const put = ({ raw, bucket }: Opened, key: string, body = 'x') =>
  raw.send(new RawPutObjectCommand({ Bucket: bucket, Key: key, Body: body }));

/** Writes past tenantkit what is retained for an hour, unless somebody may pass by that. */
export async function putRetained({ raw, bucket }: Opened, key: string): Promise<string | undefined> {
  const { VersionId } = await raw.send(
    new RawPutObjectCommand({
      Bucket: bucket,
      Key: key,
      Body: 'x',
      ObjectLockMode: 'GOVERNANCE',
      ObjectLockRetainUntilDate: new Date(Date.now() + 3_600_000),
    }),
  );
  return VersionId;
}

/** Every version and delete marker in the bucket, with the raw client. */
export async function everything({ raw, bucket }: Opened): Promise<string[]> {
  const found: string[] = [];
  let marker: { KeyMarker?: string; VersionIdMarker?: string } | undefined = {};
  while (marker !== undefined) {
    const page: ListObjectVersionsCommandOutput = await raw.send(
      new RawListObjectVersionsCommand({ Bucket: bucket, ...marker }),
    );
    found.push(...(page.Versions ?? []).map(({ Key, VersionId, ETag }) => `${Key} ${VersionId} ${ETag}`));
    found.push(...(page.DeleteMarkers ?? []).map(({ Key, VersionId }) => `${Key} ${VersionId} deleted`));
    const { NextKeyMarker = '', NextVersionIdMarker = '' } = page;
    marker =
      page.IsTruncated === true
        ? { KeyMarker: NextKeyMarker, VersionIdMarker: NextVersionIdMarker }
        : undefined;
  }
  return found.sort();
}

/** Those of one tenant. */
export const of = (found: readonly string[], tenant: string): string[] =>
  found.filter((name) => name.startsWith(`tenants/${tenant}/`));

/** What a middleware sees of a call, and how it goes on. */
export interface Passing {
  readonly command: string;
  readonly input: Record<string, unknown>;
  /** Sends it, with another input if one is given. */
  readonly next: (input?: object) => Promise<object>;
}

/**
 * A guarded client whose server answers differently: `answer` gives the output of a command. What it passes on goes to
 * the real server.
 */
export function altered(
  own: Opened,
  answer: (passing: Passing) => Promise<object>,
  tenant: Partial<StorageTenantOptions> = {},
): S3Client & Disposable {
  const s3 = new S3Client({ ...own.options, tenant: { buckets: [own.bucket], ...tenant } });
  s3.middlewareStack.add(
    (next, { commandName = '' }) =>
      async (args) => {
        let response: unknown = {};
        const output = await answer({
          command: commandName,
          input: { ...args.input },
          next: async (input = args.input) => {
            const result = await next({ ...args, input });
            response = result.response;
            return result.output;
          },
        });
        return { output: { $metadata: {}, ...output }, response };
      },
    { step: 'initialize' },
  );
  return Object.assign(s3, { [Symbol.dispose]: () => s3.destroy() });
}

/** In place of an answer: the connection is cut. */
export const CUT = 'cut';

/** A guarded client behind a proxy that answers some requests itself. */
export async function proxied(
  own: Opened,
  answer: (url: string, method: string) => string | ((response: ServerResponse) => void) | undefined,
): Promise<{ readonly s3: S3Client; readonly bucket: string } & AsyncDisposable> {
  const proxy = createServer((request, response) => {
    const { url = '', method = '', headers } = request;
    const answered = answer(url, method);
    if (answered === CUT) {
      request.socket.destroy();
      return;
    }
    if (typeof answered === 'function') {
      answered(response);
      return;
    }
    if (answered !== undefined) {
      response.setHeader('content-type', 'application/xml').end(answered);
      return;
    }
    const onward = forward(new URL(url, target), { method, headers }, (reply) => {
      response.writeHead(reply.statusCode ?? 500, reply.headers);
      reply.pipe(response);
    });
    request.pipe(onward);
  });
  const target = own.options.endpoint;
  await new Promise<void>((resolve) => void proxy.listen(0, '127.0.0.1', resolve));
  const { port } = proxy.address() as AddressInfo;
  const s3 = new S3Client({
    ...own.options,
    endpoint: `http://127.0.0.1:${port}`,
    tenant: { buckets: [own.bucket] },
  });
  return {
    s3,
    bucket: own.bucket,
    async [Symbol.asyncDispose]() {
      s3.destroy();
      proxy.closeAllConnections();
      await new Promise((resolve) => void proxy.close(resolve));
    },
  };
}

import { createHash } from 'node:crypto';
import {
  DeleteObjectCommand as RawDelete,
  ListMultipartUploadsCommand as RawUploads,
  ListObjectsV2Command as RawList,
  ListObjectVersionsCommand as RawVersions,
} from '@aws-sdk/client-s3';
import { withTenant } from '@tenantkit/core';
import * as storage from '@tenantkit/storage';
import { expect } from 'vitest';
import type { Opened } from '../open.ts';
import { lacking } from '../servers/capabilities.ts';
import { TENANTS, type Operation, type Tenant, type Turn } from './operations.ts';

/** A version of an object; a delete marker has no body. */
interface Version {
  readonly id: string | undefined;
  readonly body: string | undefined;
  readonly etag: string;
}

type Reply = Readonly<Record<string, unknown>>;
type Failed = { readonly failed: string };

const ordered = lacking(['order']) === undefined;
const lists = lacking(['uploadLists']) === undefined;
const binds = lacking(['partCopies']) === undefined;

/** What each tenant has, and the same on the server. */
export class World {
  calls = 0;
  readonly #own: Opened;
  readonly #versioned: boolean;
  readonly #objects = new Map<Tenant, Map<string, Version[]>>();
  readonly #uploads = new Map<Tenant, string[]>();

  constructor(own: Opened, versioned: boolean) {
    this.#own = own;
    this.#versioned = versioned;
  }

  /** Takes away all that earlier programs have left. */
  async clear(): Promise<void> {
    const { raw, bucket: Bucket } = this.#own;
    for (const { Key, VersionId } of await this.#stored()) {
      await raw.send(new RawDelete({ Bucket, Key, ...(this.#versioned ? { VersionId } : {}) }));
    }
    for (const tenant of TENANTS) {
      this.#objects.set(tenant, new Map());
      const uploads = this.#uploads.get(tenant) ?? [];
      for (const upload of uploads) {
        const [Key = '', UploadId = ''] = upload.split('\n');
        await this.#as(tenant, new storage.AbortMultipartUploadCommand({ Bucket, Key, UploadId }));
      }
      this.#uploads.set(tenant, []);
    }
  }

  /** Plays a turn: its calls leave together where the server can take that. */
  async play(turn: Turn): Promise<void> {
    const calls = Object.entries(turn) as [Tenant, Operation][];
    this.calls += calls.length;
    // A file system takes the folder away in which another call is just writing.
    if (ordered) await Promise.all(calls.map(([tenant, call]) => this.#play(tenant, call)));
    else for (const [tenant, call] of calls) await this.#play(tenant, call);
  }

  /** Compares all that the server has with the model. */
  async compare(): Promise<void> {
    const stored = await this.#stored();
    const there = stored.map(({ Key, VersionId, ETag }) => [
      Key,
      this.#versioned ? VersionId : undefined,
      ETag,
    ]);
    const expected = TENANTS.flatMap((tenant) =>
      [...this.#of(tenant)].flatMap(([key, versions]) =>
        versions.map(({ id, etag }) => [`tenants/${tenant}/${key}`, id, etag]),
      ),
    );
    expect(sorted(there)).toEqual(sorted(expected));
    if (!lists) return;
    const { raw, bucket: Bucket } = this.#own;
    const { Uploads = [] } = await raw.send(new RawUploads({ Bucket }));
    const left = TENANTS.flatMap((tenant) =>
      (this.#uploads.get(tenant) ?? []).map((upload) => `tenants/${tenant}/${upload.split('\n')[0]}`),
    );
    expect(sorted(Uploads.map(({ Key }) => [Key]))).toEqual(sorted(left.map((key) => [key])));
  }

  #play(tenant: Tenant, call: Operation): Promise<void> {
    switch (call.kind) {
      case 'put':
        return this.#put(tenant, call);
      case 'get':
      case 'head':
        return this.#read(tenant, call);
      case 'delete':
        return this.#delete(tenant, call);
      case 'copy':
        return this.#copy(tenant, call);
      case 'batch':
        return this.#batch(tenant, call);
      case 'list':
        return this.#list(tenant, call);
      case 'after':
        return this.#after(tenant, call);
      case 'upload':
        return this.#upload(tenant, call);
      case 'escape':
      default:
        return this.#escape(tenant, call);
    }
  }

  async #put(tenant: Tenant, { key, body }: Operation & { kind: 'put' }): Promise<void> {
    const reply = await this.#as(
      tenant,
      new storage.PutObjectCommand({ Key: key, Body: body, Metadata: { of: tenant } }),
    );
    expect(reply).toMatchObject({ ETag: etagOf(body) });
    this.#write(tenant, key, { id: idOf(reply), body, etag: etagOf(body) });
  }

  async #read(tenant: Tenant, { kind, key, which }: Operation & { kind: 'get' | 'head' }): Promise<void> {
    const version = this.#version(tenant, key, which);
    const at = { Key: key, ...(which === undefined ? {} : { VersionId: version?.id }) };
    const Command = kind === 'get' ? storage.GetObjectCommand : storage.HeadObjectCommand;
    const reply = await this.#as(tenant, new Command(at));
    if (version?.body === undefined) {
      // A marker can be named, but not read.
      expect(['NoSuchKey', 'NotFound', 'MethodNotAllowed', 'Unknown']).toContain((reply as Failed).failed);
      return;
    }
    expect(reply).toMatchObject({ ETag: version.etag, ContentLength: Buffer.byteLength(version.body) });
    if (kind === 'get') {
      const { Body } = reply as { Body: { transformToString(): Promise<string> } };
      expect(await Body.transformToString()).toBe(version.body);
    }
    const { Metadata } = reply as { Metadata: { of?: string } };
    expect([undefined, tenant]).toContain(Metadata.of);
  }

  async #delete(tenant: Tenant, { key, which }: Operation & { kind: 'delete' }): Promise<void> {
    const version = which === undefined ? undefined : this.#version(tenant, key, which);
    const at = version === undefined ? {} : { VersionId: version.id };
    const reply = await this.#as(tenant, new storage.DeleteObjectCommand({ Key: key, ...at }));
    expect(reply).not.toHaveProperty('failed');
    const versions = this.#of(tenant).get(key) ?? [];
    if (version !== undefined)
      this.#keep(
        tenant,
        key,
        versions.filter((one) => one !== version),
      );
    else if (!this.#versioned) this.#of(tenant).delete(key);
    else this.#mark(tenant, key, idOf(reply));
  }

  async #copy(tenant: Tenant, { from, to }: Operation & { kind: 'copy' }): Promise<void> {
    const source = this.#version(tenant, from, undefined);
    const path = from.split('/').map(encodeURIComponent).join('/');
    const CopySource = `${this.#own.bucket}/${path}`;
    const reply = await this.#as(tenant, new storage.CopyObjectCommand({ Key: to, CopySource }));
    if (source?.body === undefined) {
      expect(reply).toEqual({ failed: 'NoSuchKey' });
      return;
    }
    const { CopyObjectResult } = reply as { CopyObjectResult: { ETag: string } };
    // Ceph leaves the quotes out.
    expect(CopyObjectResult.ETag.replaceAll('"', '')).toBe(source.etag.replaceAll('"', ''));
    this.#write(tenant, to, { ...source, id: await this.#idOfLast(tenant, to, reply) });
  }

  async #batch(tenant: Tenant, { keys }: Operation & { kind: 'batch' }): Promise<void> {
    const Objects = keys.map((Key) => ({ Key }));
    const reply = (await this.#as(
      tenant,
      new storage.DeleteObjectsCommand({ Bucket: this.#own.bucket, Delete: { Objects } }),
    )) as {
      Deleted?: { Key: string; DeleteMarkerVersionId?: string }[];
      Errors?: unknown;
    };
    expect(reply.Errors ?? []).toEqual([]);
    expect(reply.Deleted?.map(({ Key }) => Key).sort()).toEqual([...keys].sort());
    for (const { Key, DeleteMarkerVersionId: id } of reply.Deleted ?? []) {
      if (!this.#versioned) this.#of(tenant).delete(Key);
      else this.#mark(tenant, Key, id);
    }
  }

  async #list(tenant: Tenant, { prefix, delimiter, page }: Operation & { kind: 'list' }): Promise<void> {
    const found: string[] = [];
    const input = { Prefix: prefix, ...(delimiter ? { Delimiter: '/' } : {}) };
    let more: object = ordered ? { MaxKeys: page } : {};
    for (;;) {
      const reply = (await this.#as(tenant, new storage.ListObjectsV2Command({ ...input, ...more }))) as {
        Contents?: { Key: string; ETag: string }[];
        CommonPrefixes?: { Prefix: string }[];
        NextContinuationToken?: string;
      };
      const entries = [
        ...(reply.Contents ?? []).map(({ Key }) => Key),
        ...(reply.CommonPrefixes ?? []).map(({ Prefix }) => Prefix),
      ];
      if (ordered) expect(entries.length).toBeLessThanOrEqual(page);
      found.push(...entries);
      if (reply.NextContinuationToken === undefined) break;
      more = { MaxKeys: page, ContinuationToken: reply.NextContinuationToken };
    }
    const expected = new Set(
      this.#live(tenant)
        .filter((key) => key.startsWith(prefix))
        .map((key) => {
          const end = delimiter ? key.indexOf('/', prefix.length) : -1;
          return end === -1 ? key : key.slice(0, end + 1);
        }),
    );
    expect(found.sort()).toEqual([...expected].sort());
  }

  async #after(tenant: Tenant, { key }: Operation & { kind: 'after' }): Promise<void> {
    const reply = (await this.#as(tenant, new storage.ListObjectsV2Command({ StartAfter: key }))) as {
      Contents?: { Key: string }[];
    };
    const found = (reply.Contents ?? []).map(({ Key }) => Key);
    const expected = this.#live(tenant)
      .filter((one) => Buffer.compare(Buffer.from(one), Buffer.from(key)) > 0)
      .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
    expect(ordered ? found : found.sort()).toEqual(ordered ? expected : expected.sort());
  }

  async #upload(tenant: Tenant, { key, parts, end, thief }: Operation & { kind: 'upload' }): Promise<void> {
    const Bucket = this.#own.bucket;
    const begun = await this.#as(
      tenant,
      new storage.CreateMultipartUploadCommand({ Bucket, Key: key, Metadata: { of: tenant } }),
    );
    const { UploadId } = begun as { UploadId: string };
    const at = { Bucket, Key: key, UploadId };
    const Parts: { ETag: string; PartNumber: number }[] = [];
    for (const [index, Body] of parts.entries()) {
      const part = new storage.UploadPartCommand({ ...at, PartNumber: index + 1, Body });
      Parts.push({ ETag: ((await this.#as(tenant, part)) as { ETag: string }).ETag, PartNumber: index + 1 });
    }
    const complete = new storage.CompleteMultipartUploadCommand({ ...at, MultipartUpload: { Parts } });
    const abort = new storage.AbortMultipartUploadCommand(at);
    if (thief) {
      for (const other of TENANTS.filter((one) => one !== tenant)) {
        const part = new storage.UploadPartCommand({ ...at, PartNumber: 1, Body: 'stolen' });
        for (const command of [part, complete, abort, new storage.ListPartsCommand(at)])
          expect(await this.#as(other, command)).toEqual({ failed: 'SIGNATURE_INVALID' });
      }
    }
    if (end === 'leave') this.#uploads.get(tenant)?.push(`${key}\n${UploadId}`);
    else if (end === 'abort') expect(await this.#as(tenant, abort)).not.toHaveProperty('failed');
    else {
      const reply = await this.#as(tenant, complete);
      expect(reply).toMatchObject({ Key: key });
      const body = parts.join('');
      const etag = binds ? partedEtag(parts) : etagOf(body);
      this.#write(tenant, key, { id: await this.#idOfLast(tenant, key, reply), body, etag });
    }
  }

  async #escape(tenant: Tenant, { key }: Operation & { kind: 'escape' }): Promise<void> {
    const before = this.#own.sent();
    const reply = await this.#as(tenant, new storage.PutObjectCommand({ Key: key, Body: 'escaped' }));
    expect(reply).toEqual({ failed: 'OPERATION_REFUSED' });
    if (!ordered) expect(this.#own.sent()).toBe(before);
  }

  async #as(tenant: Tenant, command: object): Promise<Reply | Failed> {
    return withTenant(tenant, () => this.#own.s3.send(command as storage.GetObjectCommand)).then(
      (reply) => reply as unknown as Reply,
      (error: Error & { code?: string }) => ({ failed: error.code ?? error.name }),
    );
  }

  // Ceph says nothing of the version that a copy or a completed upload has made.
  async #idOfLast(tenant: Tenant, key: string, reply: Reply | Failed): Promise<string | undefined> {
    if (!this.#versioned || idOf(reply) !== undefined) return idOf(reply);
    return idOf(await this.#as(tenant, new storage.HeadObjectCommand({ Key: key })));
  }

  async #stored(): Promise<
    { Key?: string | undefined; VersionId?: string | undefined; ETag: string | undefined }[]
  > {
    const { raw, bucket: Bucket } = this.#own;
    if (!this.#versioned) {
      const { Contents = [] } = await raw.send(new RawList({ Bucket }));
      return Contents.map(({ Key, ETag }) => ({ Key, ETag }));
    }
    const { Versions = [], DeleteMarkers = [] } = await raw.send(new RawVersions({ Bucket }));
    return [
      ...Versions.map(({ Key, VersionId, ETag }) => ({ Key, VersionId, ETag })),
      ...DeleteMarkers.map(({ Key, VersionId }) => ({ Key, VersionId, ETag: 'marker' })),
    ];
  }

  #of(tenant: Tenant): Map<string, Version[]> {
    return this.#objects.get(tenant) ?? new Map<string, Version[]>();
  }

  #live(tenant: Tenant): string[] {
    return [...this.#of(tenant)].flatMap(([key, versions]) =>
      versions.at(-1)?.body === undefined ? [] : [key],
    );
  }

  #version(tenant: Tenant, key: string, which: number | undefined): Version | undefined {
    const versions = this.#of(tenant).get(key) ?? [];
    return which === undefined ? versions.at(-1) : versions[which % Math.max(versions.length, 1)];
  }

  #write(tenant: Tenant, key: string, version: Version): void {
    const earlier = this.#versioned ? (this.#of(tenant).get(key) ?? []) : [];
    this.#of(tenant).set(key, [...earlier, version]);
  }

  // Where a marker is the last version already, Ceph makes no other.
  #mark(tenant: Tenant, key: string, id: string | undefined): void {
    if (this.#of(tenant).get(key)?.at(-1)?.etag === 'marker') return;
    this.#write(tenant, key, { id, body: undefined, etag: 'marker' });
  }

  #keep(tenant: Tenant, key: string, versions: Version[]): void {
    if (versions.length === 0) this.#of(tenant).delete(key);
    else this.#of(tenant).set(key, versions);
  }
}

const idOf = (reply: Reply | Failed): string | undefined => (reply as { VersionId?: string }).VersionId;
const md5 = (body: string | Buffer): Buffer => createHash('md5').update(body).digest();
const etagOf = (body: string): string => `"${md5(body).toString('hex')}"`;
const partedEtag = (parts: readonly string[]): string =>
  `"${md5(Buffer.concat(parts.map(md5))).toString('hex')}-${parts.length}"`;
const sorted = (rows: readonly unknown[][]): string[] => rows.map((row) => JSON.stringify(row)).sort();

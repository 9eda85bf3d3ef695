import { OperationRefusedError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import type { Call } from '../src/call.ts';
import { rewriteOutput } from '../src/reply.ts';
import { rewriteInput } from '../src/rewrite.ts';
import type { CommandName } from '../src/rules.ts';
import { openUploadId } from '../src/upload-id.ts';
import { HOME, KEY, REALM, THERE, startOf, uploadOf } from './calls.ts';

// Whom it is about what a command writes: `p1` is the person in whose context the command is sent.

const call = (operation: CommandName, given: object, subject: string | undefined): Call =>
  rewriteInput(REALM, { ...startOf(operation), subject }, { Bucket: 'uploads', ...given });
const metadataOf = ({ input }: Call): unknown => input['Metadata'];
const partOf = (...subjects: string[]): object => ({
  ...KEY,
  UploadId: uploadOf({ subjects }),
  PartNumber: 1,
});

describe('what is written in the context of a person', () => {
  it.each<[CommandName, object]>([
    ['PutObjectCommand', KEY],
    ['CreateMultipartUploadCommand', KEY],
  ])('is labelled by %s, in the metadata and in the header that is looked for', (operation, given) => {
    const written = call(operation, { ...given, Metadata: { a: '1' } }, 'p1');
    expect(metadataOf(written)).toEqual({ a: '1', 'tk-subject': 'p1' });
    expect(metadataOf(call(operation, given, 'p1'))).toEqual({ 'tk-subject': 'p1' });
    expect(written.subjects).toEqual(['p1']);
    expect([...written.pinned]).toEqual([['x-amz-meta-tk-subject', 'p1']]);
    const nobodys = call(operation, { ...given, Metadata: { a: '1' } }, undefined);
    expect(metadataOf(nobodys)).toEqual({ a: '1' });
    expect(nobodys.subjects).toEqual([]);
    expect([...nobodys.pinned]).toEqual([]);
  });

  // What the source is about is asked first; the label is written when that is known.
  it('is not labelled yet by a copy, which is about the person as well', () => {
    const copy = { ...KEY, CopySource: 'uploads/b' };
    const written = call('CopyObjectCommand', copy, 'p1');
    expect(written.subjects).toEqual(['p1']);
    expect(metadataOf(written)).toBeUndefined();
    expect([...written.pinned]).toEqual([]);
    expect(call('CopyObjectCommand', copy, undefined).subjects).toEqual([]);
  });

  it('is a part of an upload that was made in it', () => {
    for (const operation of ['UploadPartCommand', 'CompleteMultipartUploadCommand'] as const) {
      const { PartNumber: _number, ...rest } = partOf('p1', 'p2') as Record<string, unknown>;
      const given = operation === 'UploadPartCommand' ? partOf('p1', 'p2') : rest;
      for (const subject of ['p1', 'p2', undefined]) {
        const part = call(operation, given, subject);
        expect(part.subjects, operation).toEqual(['p1', 'p2']);
        expect(metadataOf(part), operation).toBeUndefined();
        expect([...part.pinned], operation).toEqual([]);
      }
    }
  });

  it('is no part of an upload that was made in none, or in another’s', () => {
    for (const given of [partOf(), partOf('p2'), partOf('p10')]) {
      let error: unknown;
      try {
        call('UploadPartCommand', given, 'p1');
      } catch (thrown) {
        error = thrown;
      }
      expect(error).toBeInstanceOf(OperationRefusedError);
      expect((error as OperationRefusedError).message).toBe(
        'storage.UploadPartCommand is refused: the part is written in the context of a person, and its upload was not made in it. Make the upload in the context of that person, and use the UploadId of CreateMultipartUpload as it was.',
      );
    }
    expect(call('UploadPartCommand', partOf(), undefined).subjects).toEqual([]);
  });

  it('is not what is only read, listed or ended', () => {
    const { UploadId } = partOf('p2') as { readonly UploadId: string };
    for (const [operation, given, about] of [
      ['GetObjectCommand', KEY, []],
      ['ListObjectsV2Command', {}, []],
      ['ListPartsCommand', { ...KEY, UploadId }, ['p2']],
      ['AbortMultipartUploadCommand', { ...KEY, UploadId }, ['p2']],
    ] as const) {
      const asked = call(operation, given, 'p1');
      expect(asked.subjects, operation).toEqual(about);
      expect(metadataOf(asked), operation).toBeUndefined();
      expect([...asked.pinned], operation).toEqual([]);
    }
  });
});

describe('a reply', () => {
  const where = { tenant: 'acme', home: HOME, bucket: THERE.Bucket, key: THERE.Key };
  const opened = (reply: unknown): unknown =>
    openUploadId(REALM.sealer, Reflect.get(Object(reply), 'UploadId'), where);

  it('tells in the id of an upload whom it is about, and of a listing nothing', () => {
    const made = call('CreateMultipartUploadCommand', KEY, 'p1');
    const reply = { Bucket: THERE.Bucket, Key: THERE.Key, UploadId: 'u1' };
    expect(opened(rewriteOutput(REALM, made, reply))).toEqual({ id: 'u1', subjects: ['p1'] });
    const listed = { ...call('ListMultipartUploadsCommand', {}, undefined), subjects: ['p1'] };
    const uploads = rewriteOutput(REALM, listed, { Uploads: [{ Key: THERE.Key, UploadId: 'u1' }] });
    const [upload] = Reflect.get(Object(uploads), 'Uploads') as readonly unknown[];
    expect(opened(upload)).toEqual({ id: 'u1', subjects: [] });
  });

  it('does not show the label', () => {
    const Metadata = { a: '1', 'tk-subject': 'p1', tk_subject: 'p1', 'TK-x': '2', task: '3', 'a-tk-': '4' };
    const reply = rewriteOutput(REALM, call('HeadObjectCommand', KEY, undefined), { Metadata });
    expect(Reflect.get(Object(reply), 'Metadata')).toEqual({ a: '1', task: '3', 'a-tk-': '4' });
  });

  it('is refused with a list that no server makes', () => {
    const listing = call('ListObjectsV2Command', {}, undefined);
    const read = (length: number): unknown =>
      rewriteOutput(REALM, listing, { Contents: Array.from({ length }, () => ({ Key: THERE.Key })) });
    expect(Reflect.get(Object(read(10_000)), 'Contents')).toHaveLength(10_000);
    expect(() => read(10_001)).toThrow(
      'storage.ListObjectsV2Command is refused: the server’s reply has a list of more than 10000 entries. Look what answers there: no S3 lists that many at once. Whether the command has taken effect is not known.',
    );
  });

  it('names a key in the text of an entry logically', () => {
    const batch = call('DeleteObjectsCommand', { Delete: { Objects: [KEY] } }, undefined);
    const Errors = [
      { Key: THERE.Key, Code: 'AccessDenied', Message: `no right to ${THERE.Key}, ${THERE.Key}x` },
    ];
    const reply = rewriteOutput(REALM, batch, { Errors });
    expect(Reflect.get(Object(reply), 'Errors')).toEqual([
      { ...KEY, Code: 'AccessDenied', Message: `no right to ${KEY.Key}, ${KEY.Key}x` },
    ]);
  });
});

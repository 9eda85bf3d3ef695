import { createServer, type ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { OperationRefusedError, withTenant } from '@tenantkit/core';
import { S3Client, SelectObjectContentCommand } from '@tenantkit/storage';
import { EventStreamCodec } from '@smithy/core/event-streams';
import { HttpResponse } from '@smithy/core/protocols';
import { fromUtf8, toUtf8 } from '@smithy/core/serde';
import { beforeAll, describe, expect, it } from 'vitest';
import { FrameError, Frames, MAX_DOCUMENT, MAX_FRAME, MAX_HEADERS } from '../src/event-frames.ts';
import { clientOf } from './own-server.ts';

// A server that a tenant has chosen for itself, and that answers SelectObjectContent as it likes.

const codec = new EventStreamCodec(toUtf8, fromUtf8);
const message = (headers: Readonly<Record<string, string>>, body: string | Uint8Array = ''): Buffer =>
  Buffer.from(
    codec.encode({
      headers: Object.fromEntries(
        Object.entries(headers).map(([name, value]) => [`:${name}`, { type: 'string', value }]),
      ),
      body: Buffer.from(body),
    }),
  );
const event = (type: string, body?: string | Uint8Array): Buffer =>
  message({ 'message-type': 'event', 'event-type': type }, body);
const records = (body: string | Uint8Array = 'a,1\n'): Buffer => event('Records', body);
const stats = (inside = ''): Buffer =>
  event('Stats', `<Stats>${inside}<BytesScanned>8</BytesScanned></Stats>`);
const END = event('End');
/** The beginning of a message that announces so many bytes, and so many of headers. */
const announced = (total: number, headers = 0): Buffer => {
  const prelude = Buffer.alloc(12);
  prelude.writeUInt32BE(total, 0);
  prelude.writeUInt32BE(headers, 4);
  return prelude;
};
const altered = (whole: Buffer, at: number): Buffer => {
  const copy = Buffer.from(whole);
  copy[at] = (copy[at] ?? 0) ^ 1;
  return copy;
};

let answer: (response: ServerResponse) => void;
let last: Socket;
const server = createServer((request, response) => {
  last = request.socket;
  request.resume().on('end', () => answer(response.writeHead(200)));
});
let s3: S3Client;
beforeAll(async () => {
  const opened = await clientOf(server);
  ({ s3 } = opened);
  return opened.close;
});

const select = async (client: S3Client) => {
  const { Payload = [] } = await client.send(
    new SelectObjectContentCommand({
      Key: 'a.csv',
      Expression: 'select * from s3object',
      ExpressionType: 'SQL',
      InputSerialization: { CSV: {} },
      OutputSerialization: { CSV: {} },
    }),
  );
  return Payload;
};
const read = (client = s3): Promise<string[]> =>
  withTenant('acme', async () => {
    const seen: string[] = [];
    for await (const { Records, Stats, End } of await select(client)) {
      if (Records !== undefined) seen.push(Buffer.from(Records.Payload ?? []).toString());
      if (Stats !== undefined) seen.push(`${Stats.Details?.BytesScanned}`);
      if (End !== undefined) seen.push('end');
    }
    return seen;
  });
const closed = (): Promise<void> =>
  // Not `once`, which an error on the way ends.
  new Promise((resolve) => {
    if (last.destroyed) resolve();
    else last.once('close', () => resolve()).on('error', () => undefined);
  });
/** How a call fails; its connection is closed, though the server would say more. */
const fails = async (...parts: readonly Buffer[]): Promise<Error> => {
  answer = (response) => void response.write(Buffer.concat(parts));
  const error = await read().then(
    () => undefined,
    (failed: unknown) => failed,
  );
  await closed();
  expect(error).toBeInstanceOf(Error);
  return error as Error;
};

describe('the events of SelectObjectContent', () => {
  it('come one by one, however they are cut into pieces', async () => {
    const long = 'x'.repeat(3 * 1024 * 1024);
    answer = (response) => response.end(Buffer.concat([records(), records(long), stats(), END]));
    const seen = await read();
    expect(seen.map((text) => (text === long ? 'long' : text))).toEqual(['a,1\n', 'long', '8', 'end']);
    const whole = Buffer.concat([
      records(),
      event('Cont'),
      stats(),
      records('<!DOCTYPE x><!DOCTYPE y>'),
      END,
    ]);
    answer = (response) => {
      for (const byte of whole) response.write(Buffer.from([byte]));
      response.end();
    };
    expect(await read()).toEqual(['a,1\n', '8', '<!DOCTYPE x><!DOCTYPE y>', 'end']);
    answer = (response) => void response.end();
    expect(await read()).toEqual([]);
  });

  it('are refused as soon as one is announced that is too long, and no more is read', async () => {
    let written = 0;
    answer = (response) => {
      response.write(records());
      response.write(announced(2 ** 32 - 1));
      const piece = Buffer.alloc(65_536);
      const more = (): void => {
        while (!response.destroyed && written < 2 ** 28) {
          written += piece.length;
          if (!response.write(piece)) return void response.once('drain', more);
        }
      };
      more();
    };
    await expect(read()).rejects.toThrow('longer than S3 makes them');
    await closed();
    // What the system takes off the server's hands, and nothing like what was announced.
    expect(written).toBeLessThan(2 ** 26);
  });

  it.each([
    ['is too long', announced(MAX_FRAME + 1)],
    ['has too long headers', announced(MAX_FRAME, MAX_HEADERS + 1)],
    ['is a document that is too long', stats('x'.repeat(MAX_DOCUMENT))],
    ['is a document with a DOCTYPE', stats('<!DOCTYPE x>')],
    ['is shorter than what is around it', announced(15)],
    ['has no length', Buffer.alloc(64)],
    ['has headers that are longer than it', announced(100, 85)],
    ['has headers that are none', Buffer.concat([announced(20, 3), Buffer.alloc(8, 0xff)])],
    ['is an exception that is too long', message({ 'message-type': 'exception' }, 'x'.repeat(MAX_DOCUMENT))],
  ])('are refused where one %s, the first or a later one', async (_, wrong) => {
    for (const before of [[], [records()]]) {
      const error = await fails(...before, wrong);
      expect(error).toBeInstanceOf(OperationRefusedError);
      expect(error).toMatchObject({ operation: 'SelectObjectContentCommand', reason: 'operation' });
      expect(error.message).not.toContain('acme');
    }
  });

  it.each([
    ['a prelude', altered(records(), 9), 'prelude checksum'],
    ['a message', altered(records(), records().length - 6), 'message checksum'],
  ])('end with the error of the SDK where the checksum of %s is wrong', async (_, wrong, text) => {
    for (const before of [[], [records()]]) expect((await fails(...before, wrong)).message).toContain(text);
  });

  it('end with an error where they are cut off', async () => {
    for (const length of [8, 14, 100]) {
      answer = (response) =>
        response.end(Buffer.concat([records(), records('x'.repeat(200)).subarray(0, length)]));
      await expect(read()).rejects.toThrow('Truncated');
    }
  });

  it('end with an error that holds logical names, the first or a later one', async () => {
    const wrong = message({
      'message-type': 'error',
      'error-code': 'Busy',
      'error-message': 'no tenants/acme/a.csv in uploads',
    });
    for (const before of [[], [records()]]) {
      const error = await fails(...before, wrong);
      expect(error.name).toBe('Busy');
      expect(error.message).toMatch(/^no a\.csv in uploads/);
    }
  });

  it('are looked at, too, where a handler on fetch has asked for them', async () => {
    const answering = (...parts: readonly Buffer[]): Promise<string[]> => {
      const handle = (): Promise<{ response: HttpResponse }> =>
        Promise.resolve({
          response: new HttpResponse({ statusCode: 200, headers: {}, body: ReadableStream.from(parts) }),
        });
      const own = new S3Client({
        region: 'us-east-1',
        credentials: { accessKeyId: 'none', secretAccessKey: 'none' },
        requestHandler: { handle },
        tenant: { buckets: ['uploads'] },
      });
      return read(own);
    };
    expect(await answering(records(), END)).toEqual(['a,1\n', 'end']);
    await expect(answering(records(), announced(2 ** 32 - 1))).rejects.toThrow('longer than S3 makes them');
  });

  it('keep no connection where nobody reads on', async () => {
    answer = (response) => void response.write(Buffer.concat([records(), records()]));
    await withTenant('acme', async () => {
      for await (const { Records } of await select(s3)) {
        expect(Records).toBeDefined();
        break;
      }
    });
    await closed();
  });
});

it('a message of as many bytes as there may be passes, and is not held; a longer one does not', () => {
  const announcing = (total: number): Buffer => {
    const head = records().subarray(0, 12 + records().readUInt32BE(4));
    head.writeUInt32BE(total, 0);
    return head;
  };
  const frames = new Frames();
  const head = announcing(MAX_FRAME);
  const passed = frames.take(Buffer.concat([head, Buffer.alloc(MAX_FRAME - head.length)]));
  expect(Buffer.concat(passed)).toHaveLength(MAX_FRAME);
  expect(frames.rest()).toHaveLength(0);
  expect(() => frames.take(announcing(MAX_FRAME + 1))).toThrow(FrameError);
});

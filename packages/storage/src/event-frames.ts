import { HeaderMarshaller } from '@smithy/core/event-streams';
import { fromUtf8, toUtf8 } from '@smithy/core/serde';
import { refuse, type RefuseRule } from '@tenantkit/core';

/**
 * How long one message may be, in bytes. AWS's own implementation of the format takes no longer ones
 * (`AWS_EVENT_STREAM_MAX_MESSAGE_SIZE` of aws-c-event-stream when S3 got the command); a record has 1 MB at most.
 */
export const MAX_FRAME = 16 * 1024 * 1024;

/** How long its headers may be; as there. */
export const MAX_HEADERS = 128 * 1024;

/** How long a message may be that is not made of records: of those that there are, none has half a kilobyte. */
export const MAX_DOCUMENT = 64 * 1024;

/** The lengths of the whole and of the headers, and a checksum of both. */
const PRELUDE = 12;

/** With the checksum of the whole. */
const LEAST = PRELUDE + 4;

const LOOK = 'Look what answers there: it is no S3, or something between changes what it answers.';
const TOO_LONG = refuse('the server’s reply has a message that is longer than S3 makes them', LOOK);
const MALFORMED = refuse('the server’s reply is no sequence of messages', LOOK);
const TOO_COSTLY = refuse(
  'the server’s reply has a message that is made so that reading it would take very long',
  LOOK,
);

/** What is wrong with a stream of messages. */
export class FrameError extends Error {
  override readonly name = 'FrameError';
  readonly rule: RefuseRule;

  constructor(rule: RefuseRule) {
    super(rule.why);
    this.rule = rule;
  }
}

const headersOf = new HeaderMarshaller(toUtf8, fromUtf8);

/**
 * Looks at the messages of a stream (`application/vnd.amazon.eventstream`) before the SDK does: it makes room for as
 * much as a message announces, which is up to 4 GiB, and parses what is no record as XML, which can be made to take
 * minutes. A server that a tenant has chosen for itself would fill the memory, or keep busy the thread, that all share.
 *
 * Checksums are left to the SDK.
 */
export class Frames {
  /** What of the current message was not passed on yet. */
  #held: Buffer = Buffer.alloc(PRELUDE);
  #length = 0;
  /** How much more of the current message is passed on as it comes. */
  #free = 0;

  /**
   * @returns what can be passed on
   * @throws FrameError
   */
  take(chunk: Buffer): Buffer[] {
    const passed: Buffer[] = [];
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#free > 0) {
        const part = rest.subarray(0, this.#free);
        this.#free -= part.length;
        rest = rest.subarray(part.length);
        passed.push(part);
        continue;
      }
      const copied = rest.copy(this.#held, this.#length);
      this.#length += copied;
      rest = rest.subarray(copied);
      if (this.#length === this.#held.length) passed.push(...this.#look());
    }
    return passed;
  }

  /** What is left when the stream has ended: the SDK says that it was cut off. */
  rest(): Buffer {
    return this.#held.subarray(0, this.#length);
  }

  /** Once as much is held as was waited for. */
  #look(): Buffer[] {
    const held = this.#held;
    const total = held.readUInt32BE(0);
    const headers = held.readUInt32BE(4);
    if (total > MAX_FRAME || headers > MAX_HEADERS) throw new FrameError(TOO_LONG);
    if (total < LEAST + headers) throw new FrameError(MALFORMED);
    if (held.length < PRELUDE + headers) return this.#await(PRELUDE + headers);
    if (held.length < total) {
      if (isRecords(held.subarray(PRELUDE))) {
        this.#free = total - held.length;
        return this.#pass();
      }
      if (total > MAX_DOCUMENT) throw new FrameError(TOO_LONG);
      return this.#await(total);
    }
    // A document of S3 has neither a DOCTYPE nor comments, by which the parser looks through all that follows.
    if (held.includes('<!')) throw new FrameError(TOO_COSTLY);
    return this.#pass();
  }

  #await(length: number): [] {
    const more = Buffer.alloc(length);
    this.#held.copy(more);
    this.#held = more;
    return [];
  }

  #pass(): [Buffer] {
    const held = this.#held;
    this.#held = Buffer.alloc(PRELUDE);
    this.#length = 0;
    return [held];
  }
}

/** Read as the SDK does: what it takes for something else must not pass for records. */
function isRecords(headers: Buffer): boolean {
  const view = new DataView(headers.buffer, headers.byteOffset, headers.byteLength);
  let read: ReturnType<HeaderMarshaller['parse']>;
  try {
    read = headersOf.parse(view);
  } catch {
    throw new FrameError(MALFORMED);
  }
  return read[':message-type']?.value === 'event' && read[':event-type']?.value === 'Records';
}

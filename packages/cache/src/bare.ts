import { Command } from 'ioredis';

/** What ioredis calls on the commands that it sends, and that works on any object with the fields of one. */
interface Inherited {
  getSlot(): number | null;
  setTimeout(ms: number): void;
  setBlockingTimeout(ms: number): void;
  extractBlockingTimeout(): number | null | undefined;
  setReplyContext(context: object): void;
}

function Prototype(): void {}
Prototype.prototype = Command.prototype;

/** The class of ioredis without its constructor, which makes a promise and transforms arguments once more. */
export const Bare = Prototype as unknown as new () => Inherited;

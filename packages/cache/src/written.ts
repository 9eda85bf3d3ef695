import type { Argument } from './keyspec.ts';
import { headFor, headOf, lengthOf, nextLengthOf, type Row } from './rows.ts';

/** What ioredis writes of a command: a text, as long as no argument is a Buffer. */
export function written(row: Row, name: string, args: readonly Argument[]): string | Buffer {
  // Few pieces: the text is put together when it is written, and each piece costs there once more.
  let text = row.name === name ? headFor(row, args.length) : headOf(name, args.length);
  let bytes: Buffer[] | undefined;
  for (let place = 0; place < args.length; place += 1) {
    const argument = args[place] as Argument;
    const isText = typeof argument === 'string';
    const length = isText ? Buffer.byteLength(argument) : argument.length;
    text += place === 0 ? lengthOf(length) : nextLengthOf(length);
    if (isText) {
      text += argument;
    } else {
      bytes ??= [];
      bytes.push(Buffer.from(text), argument);
      text = '';
    }
  }
  if (args.length > 0) text += '\r\n';
  if (bytes === undefined) return text;
  bytes.push(Buffer.from(text));
  return Buffer.concat(bytes);
}

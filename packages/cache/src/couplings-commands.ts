import { Command, Pipeline, Redis as RawRedis } from 'ioredis';
import { asCommand } from './command.ts';
import { Light } from './light.ts';
import { lighten } from './lighten.ts';
import { isTransformed, pipelinePrototype } from './methods.ts';
import { callerOf } from './caller.ts';
import { OWN } from './mark.ts';
import { rowOf } from './rows.ts';
import { Sent } from './sent.ts';

/** What ioredis does with commands, pipelines and scripts. No server is asked. */
export const COMMANDS = {
  'a method of a client hands its Command to sendCommand': () => {
    const sent: unknown[] = [];
    const host = { options: {}, sendCommand: (command: unknown) => sent.push(command) };
    void RawRedis.prototype.get.call(host as never, 'key');
    const [command] = sent;
    return command instanceof Command && command.name === 'get' && command.args.join() === 'key';
  },
  'a method makes its Command as ours do': () =>
    GIVEN.every((args) =>
      ['set', 'setBuffer'].every((name) => {
        const [theirs, own] = [RawRedis.prototype, pipelinePrototype].map((of) => madeBy(of, name, args));
        return theirs !== undefined && own !== undefined && isSame(theirs, own);
      }),
    ),
  'a Command of texts and numbers has those as texts, and gives its reply in the encoding asked for': () => {
    const args = ['key', 7, 1.5, -0, Number.NaN, -Infinity];
    const light = Light.from(NOBODYS, [...args], 'utf8');
    const command = new Command(NOBODYS, args as string[], { replyEncoding: 'utf8' });
    const reply = [Buffer.from('é')];
    return (
      light?.args.join() === command.args.join() &&
      String(command.transformReply.call(light, reply as never)) === 'é'
    );
  },
  'what is to be done with arguments and replies of a command is in _transformer': () => {
    const before = [isTransformed(NOBODYS), Light.from(NOBODYS, [], null) === undefined];
    Command.setArgumentTransformer(NOBODYS, () => ['transformed']);
    Command.setReplyTransformer(NOBODYS, () => 'transformed');
    const command = new Command(NOBODYS);
    const changed = [command.args[0], command.transformReply(Buffer.alloc(0))];
    const after = [isTransformed(NOBODYS), Light.from(NOBODYS, [], null) === undefined];
    return !before.includes(true) && !after.includes(false) && changed.every((one) => one === 'transformed');
  },
  'a Command has the methods that ioredis calls on what it sends': () =>
    ['getSlot', 'setTimeout', 'setBlockingTimeout', 'extractBlockingTimeout', 'setReplyContext']
      .concat('_clearTimers', '_iterateKeys', 'initPromise', 'transformReply')
      .every((name) => typeof Reflect.get(Command.prototype, name) === 'function'),
  'a command is written in the form that ioredis writes': () =>
    [['key'], ['key', 'é', ''], [Buffer.from('key'), 'x']].every((args) => {
      const command = new Command('get', args);
      return Buffer.from(sentFor(command).toWritable()).equals(Buffer.from(command.toWritable({})));
    }),
  'the keys of a command are found, for its slot': () =>
    sentFor(new Command('mget', ['a', 'b']))
      .getKeys()
      .join() === 'a,b',
  'what toWritable returns is written, and waits for its reply': () => {
    const { client, written } = connected();
    const command = marked();
    client.sendCommand(asCommand(command));
    return written.join() === MARK && client.commandQueue.peekBack()?.command === asCommand(command);
  },
  'a pipeline sends what it has queued through sendCommand, on a stream of its own': () => {
    const { client, written } = connected();
    const streams: unknown[] = [];
    client.sendCommand = (command, stream) => {
      streams.push(stream);
      return RawRedis.prototype.sendCommand.call(client, command, stream);
    };
    const pipeline = pipelineOf(client);
    for (const command of [marked(), marked()]) pipeline.sendCommand(asCommand(command));
    void pipeline.exec();
    return written.join() === MARK + MARK && streams.length === 2 && new Set(streams).size === 1;
  },
  'a pipeline hands out the replies of EXEC through transformReply, and numbers its commands': () => {
    const pipeline = pipelineOf(connected().client);
    const command = sentFor(new Command('get', ['key']));
    const exec = sentFor(new Command('exec'));
    for (const queued of [command, exec]) pipeline.sendCommand(asCommand(queued));
    pipeline.replyPending = 2;
    const replies = ['reply'];
    command.transformReply = (reply) => `transformed ${String(reply)}`;
    pipeline.fillResult([null, replies], 1);
    return replies.join() === 'transformed reply' && exec.pipelineIndex === 1;
  },
  'a defined command is an EVALSHA, which is called again when the server has lost the script': () => {
    const { client } = connected();
    const sent: Command[] = [];
    client.sendCommand = (command) => {
      sent.push(command);
      return command.promise;
    };
    client.defineCommand('defined', { lua: 'return 1', numberOfKeys: 1 });
    void (client as unknown as { defined(key: string): Promise<unknown> }).defined('key').catch(() => {});
    const [command] = sent;
    const { promise } = command ?? {};
    return command?.name === 'evalsha' && command.args.slice(1).join() === '1,key' && promise !== undefined;
  },
  'a pipeline is what its own fields hold': () => {
    const { client, written } = connected();
    const made = pipelineOf(client);
    const pipeline = lighten(made, Pipeline.prototype);
    pipeline.sendCommand(asCommand(marked()));
    void pipeline.exec();
    return written.join() === MARK && pipeline._queue.length === 1 && made._queue === undefined;
  },
  'a pipeline counts its open transactions': () => {
    const pipeline = pipelineOf(connected().client);
    pipeline.multi();
    return pipeline._transactions === 1 && pipeline._queue.length === 1;
  },
} satisfies Readonly<Record<string, () => boolean>>;

// What methods may be given.
const GIVEN: readonly (readonly unknown[])[] = [
  ['key', 'value'],
  ['key', 7, 2 ** 60, -0, null],
  [Buffer.from('key'), ['EX', 1]],
  ['key', 'value', () => undefined],
];

// No server has such a command, so nobody has asked for its replies.
const NOBODYS = 'tenantkit.coupling';

const MARK = 'what toWritable returns';

interface MadeCommand {
  readonly name: string;
  readonly replyEncoding: unknown;
  readonly callback: unknown;
  readonly isReadOnly?: unknown;
  readonly errorStack: unknown;
  toWritable(socket: object): string | Buffer;
}

interface TriedPipeline {
  readonly _queue: readonly Command[];
  readonly _transactions: number;
  readonly length: number;
  replyPending: number;
  sendCommand(command: Command): unknown;
  exec(): Promise<unknown>;
  multi(): unknown;
  fillResult(value: unknown[], position: number): void;
}

// A client that takes itself to be connected, to a socket that only remembers.
function connected(): { readonly client: RawRedis; readonly written: string[] } {
  const written: string[] = [];
  const client = new RawRedis({ lazyConnect: true });
  const stream = { writable: true, write: (bytes: string | Buffer) => written.push(String(bytes)) };
  Object.assign(client, {
    status: 'ready',
    stream,
    condition: { select: 0, subscriber: false, protocol: 2 },
  });
  return { client, written };
}

function pipelineOf(client: RawRedis): TriedPipeline {
  return new Pipeline(client) as unknown as TriedPipeline;
}

function madeBy(methods: object, name: string, args: readonly unknown[]): MadeCommand | undefined {
  const made: MadeCommand[] = [];
  // A function that is none of ours gets a whole Command.
  const host = {
    options: { showFriendlyErrorStack: true },
    sendCommand: (command: MadeCommand) => made.push(command),
  };
  Reflect.apply(Reflect.get(methods, name) as () => unknown, host, args);
  return made[0];
}

function isSame(one: MadeCommand, other: MadeCommand): boolean {
  const [bytes, others] = [one, other].map((command) => Buffer.from(command.toWritable({})));
  const fields = ['name', 'replyEncoding', 'callback', 'isReadOnly'] as const;
  return (
    bytes !== undefined &&
    others?.equals(bytes) === true &&
    fields.every((field) => one[field] === other[field]) &&
    one.errorStack instanceof Error &&
    other.errorStack instanceof Error
  );
}

function sentFor(command: Command): Sent {
  const { name } = command;
  const args = command.args as string[];
  return new Sent(OWN, rowOf(name, args), name, args, callerOf(command));
}

function marked(): Sent {
  const command = sentFor(new Command('get', ['key']));
  Object.defineProperty(command, 'toWritable', { value: () => MARK });
  return command;
}

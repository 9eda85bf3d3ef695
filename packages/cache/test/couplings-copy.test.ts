import { execFile } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { cp, mkdtemp, readFile, readdir, rm, symlink, writeFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const original = dirname(realpathSync(createRequire(import.meta.url).resolve('ioredis/package.json')));

interface Part {
  readonly part: RegExp;
  readonly name: string;
  /** What the error says. */
  readonly message: RegExp;
  /** The file that has it, where that is one only. */
  readonly file?: string;
}

const PARTS: Readonly<Record<string, Part>> = {
  'what a method tells its Command': {
    part: /replyEncoding: _encoding/g,
    name: 'encoding: _encoding',
    message: /makes its Command as ours do/,
    file: 'Commander.js',
  },
  'what a method asks of its caller': {
    part: /showFriendlyErrorStack/g,
    name: 'showErrorStack',
    message: /makes its Command as ours do/,
    file: 'Commander.js',
  },
  _transformer: { part: /\b_transformer\b/g, name: 'transforming', message: /asked for|_transformer/ },
  prevCommandQueue: {
    part: /\bprevCommandQueue\b/g,
    name: 'formerQueue',
    message: /kept in prevCommandQueue/,
  },
  silentEmit: { part: /\bsilentEmit\b/g, name: 'tell', message: /told with silentEmit/ },
  handleReconnection: {
    part: /\bhandleReconnection\b/g,
    name: 'failed',
    message: /goes to handleReconnection/,
  },
  'condition.handshake': {
    part: /\bhandshake\b(?=:| =|\)|;| &&)/g,
    name: 'settingUp',
    message: /condition\.handshake/,
  },
  'the status connect': { part: /"connect"(?=\)|;| &&)/g, name: '"hello"', message: /the status connect/ },
  'the listener of close': {
    part: /stream\.once\("close"/g,
    name: 'stream.once("end"',
    message: /listeners of close/,
    file: 'Redis.js',
  },
  resetCommandQueue: { part: /\bresetCommandQueue\b/g, name: 'empty', message: /members of these names/ },
  recoverFromFatalError: {
    part: /\brecoverFromFatalError\b/g,
    name: 'recover',
    message: /members of these names/,
  },
  handleCloseEvent: {
    part: /\bhandleCloseEvent\b/g,
    name: 'closed',
    message: /a cluster changes its status/,
  },
  setStatus: { part: /\bsetStatus\b/g, name: 'become', message: /changes in setStatus/ },
  commandQueue: { part: /\bcommandQueue\b/g, name: 'due', message: /what toWritable returns/ },
  'the end of commandQueue': {
    part: /this\.commandQueue\.push\(/g,
    name: 'this.commandQueue.unshift(',
    message: /is in commandQueue/,
    file: 'Redis.js',
  },
  'the event moved': { part: /"moved"/g, name: '"gone"', message: /emits moved/, file: 'DataHandler.js' },
  slots: { part: /\bslots\b/g, name: 'homes', message: /that slots has/ },
  getInstanceByKey: { part: /\bgetInstanceByKey\b/g, name: 'at', message: /getInstanceByKey/ },
  getNodes: { part: /\bgetNodes\b/g, name: 'all', message: /getNodes/ },
  connectionPool: { part: /\bconnectionPool\b/g, name: 'pool', message: /nodes of a cluster/ },
  'the event +node': { part: /"\+node"/g, name: '"node"', message: /tells \+node/ },
  createRedisFromOptions: {
    part: /\bcreateRedisFromOptions\b/g,
    name: 'make',
    message: /createRedisFromOptions/,
  },
  startupNodes: { part: /\bstartupNodes\b/g, name: 'given', message: /in startupNodes/ },
  delayUntilReady: { part: /\bdelayUntilReady\b/g, name: 'later', message: /delayUntilReady/ },
  refreshSlotsCache: { part: /\brefreshSlotsCache\b/g, name: 'refresh', message: /refreshSlotsCache/ },
  handleError: { part: /\bhandleError\b/g, name: 'redirect', message: /handleError/ },
  ASKING: { part: /\basking\(\)/g, name: 'ping()', message: /ASKING/ },
  _autoPipelines: { part: /\b_autoPipelines\b/g, name: 'batches', message: /_autoPipelines/ },
  createScanStream: { part: /\bcreateScanStream\b/g, name: 'stream', message: /createScanStream/ },
};

// Makes both clients with the ioredis of every folder, and prints what came of it: our sources are loaded anew for
// each, by a query that their imports take over. No server is asked.
const PROGRAM = `
  import { registerHooks } from 'node:module';
  registerHooks({
    resolve(specifier, context, next) {
      const copy = new URL(context.parentURL ?? 'file:').searchParams.get('copy') ?? specifier.split('?copy=')[1];
      if (copy === undefined) return next(specifier, context);
      if (specifier === 'ioredis') return next(copy, context);
      const found = next(specifier.split('?')[0], context);
      return found.url.includes('/packages/cache/src/') ? { ...found, url: found.url + '?copy=' + copy } : found;
    },
  });
  const answers = {};
  for (const [part, copy] of Object.entries(JSON.parse(process.env.COPIES))) {
    const { Redis, Cluster } = await import('@tenantkit/cache?copy=' + copy);
    answers[part] = [() => new Redis({ lazyConnect: true }), () => new Cluster([], { lazyConnect: true })].map(
      (make) => {
        try {
          return make().status;
        } catch (error) {
          return error.code + ' ' + error.message;
        }
      },
    );
  }
  console.log(JSON.stringify(answers));
`;

let folder: string;
let answers: Record<string, string[]>;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'ioredis-'));
  // What ioredis itself needs.
  await symlink(dirname(original), join(folder, 'node_modules'));
  const copies: Record<string, string> = { none: await copyOf('none') };
  for (const [title, part] of Object.entries(PARTS)) copies[title] = await copyOf(title, part);
  const { stdout } = await promisify(execFile)(
    process.execPath,
    ['--conditions=@tenantkit/source', '--input-type=module', '--eval', PROGRAM],
    { cwd: import.meta.dirname, env: { ...process.env, COPIES: JSON.stringify(copies) } },
  );
  answers = JSON.parse(stdout) as typeof answers;
});
afterAll(() => rm(folder, { recursive: true }));

/** The address of a copy of ioredis in which a part has another name. */
async function copyOf(title: string, part?: Part): Promise<string> {
  const built = join(folder, title.replaceAll(/\W/g, ''), 'built');
  await cp(original, dirname(built), { recursive: true, filter: (path) => !path.endsWith('.d.ts') });
  let changes = 0;
  for (const file of await readdir(built, { recursive: true })) {
    if (part === undefined || !file.endsWith(part.file ?? '.js')) continue;
    const text = await readFile(join(built, file), 'utf8');
    const changed = text.replaceAll(part.part, part.name);
    if (changed === text) continue;
    changes += 1;
    await writeFile(join(built, file), changed);
  }
  if (part !== undefined && changes === 0) throw new Error(`ioredis has no ${title}`);
  return pathToFileURL(join(built, 'index.js')).href;
}

describe('an ioredis in which a part has another name', () => {
  it('is refused for that alone: a copy as it is works', () => {
    expect(answers['none']).toEqual(['wait', 'wait']);
  });

  it.each(Object.entries(PARTS))('%s', (title, { message }) => {
    const said = answers[title] ?? [];
    expect(said).toHaveLength(2);
    for (const answer of said) {
      expect(answer).toMatch(/^CONFIG_INVALID .*installed ioredis works differently/);
      expect(answer).toMatch(message);
    }
  });
});

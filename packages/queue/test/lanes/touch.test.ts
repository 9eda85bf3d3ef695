import { readFileSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { createIORedisClient, type IRedisClient } from 'bullmq';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { touch } from '../../src/lanes/scripts.ts';
import {
  FREES_PARENT,
  TOUCHES,
  TOUCHES_IF_DEDUPLICATED,
  TOUCHES_NOTHING,
  TouchBatch,
  isKnownScript,
  touchesLane,
} from '../../src/lanes/touch.ts';
import { bench, type Bench } from '../support.ts';
import { lanesOf } from './support.ts';

describe('the scripts of the installed BullMQ', () => {
  const folder = join(dirname(createRequire(import.meta.url).resolve('bullmq')), 'commands');
  const read = (...path: string[]): string => readFileSync(join(folder, ...path), 'utf8');
  const includes = new Map(
    readdirSync(join(folder, 'includes')).map((file) => [file.replace('.lua', ''), read('includes', file)]),
  );
  const scripts = readdirSync(folder)
    .filter((file) => file.endsWith('.lua'))
    .map((file) => ({ name: file.replace(/-\d+\.lua$/, ''), source: read(file) }));

  // There are two ways to free a parent, and the second is a copy of the first under another name.
  const parents = [...includes].flatMap(([name, text]) =>
    /function _?moveParentToWait\(/.test(text) ? [name] : [],
  );

  /** What a script is made of, itself included, without what is reached through `except` alone. */
  function parts(
    source: string,
    except: readonly string[] = [],
    seen = new Map<string, string>([['', source]]),
  ): Map<string, string> {
    for (const [, name = ''] of source.matchAll(/@include "(?:includes\/)?(\w+)"/g)) {
      if (except.includes(name) || seen.has(name)) continue;
      const text = includes.get(name) ?? '';
      seen.set(name, text);
      parts(text, except, seen);
    }
    return seen;
  }
  const writesMarker = /rcall\(\s*"ZADD",\s*(?:\w*[mM]arker\w*|KEYS\[\d+\]\s*,\s*0\s*,\s*"0")/;
  const found = (reaches: (source: string) => boolean): string[] =>
    scripts.filter(({ source }) => reaches(source)).map(({ name }) => name);

  it('that make jobs of their own lane runnable are those that touch it, or are known not to', () => {
    const own = found((source) =>
      [...parts(source, parents).values()].some((text) => writesMarker.test(text)),
    );
    expect(own.toSorted()).toEqual([...TOUCHES, ...TOUCHES_NOTHING, ...TOUCHES_IF_DEDUPLICATED].toSorted());
  });

  it('that make a parent runnable are those that are known to', () => {
    expect(parents.toSorted()).toEqual(['moveParentToWait', 'removeParentDependencyKey']);
    const freeing = found((source) => parents.some((name) => parts(source).has(name)));
    expect(freeing.toSorted()).toEqual([...FREES_PARENT].toSorted());
  });

  it('that put back the last of the deduplicated jobs when one of them ends are those that are known to', () => {
    const putting = found((source) => parts(source).has('requeueDeduplicatedJob'));
    expect(putting).toEqual([...TOUCHES_IF_DEDUPLICATED]);
  });

  it('are all known, and one that is not is taken for one that touches', () => {
    // Those of the relay are no queue's.
    const unknown = scripts.filter(({ name }) => !name.startsWith('relay') && !isKnownScript(name));
    expect(unknown.map(({ name }) => name)).toEqual([]);
    expect(scripts.map(({ name }) => name)).toContain('promote');
    const touching = scripts.filter(({ name }) => isKnownScript(name) && touchesLane(name));
    expect(touching.map(({ name }) => name).toSorted()).toEqual([...TOUCHES].toSorted());
    expect(touchesLane('promoteV2')).toBe(true);
  });

  it('write the marker in no way that this test does not see', () => {
    // Any command on a key that is called a marker, in any file: what it is, is known.
    const commands = [...scripts.map(({ name, source }) => [name, source]), ...includes].flatMap(
      ([name, source]) =>
        [...(source ?? '').matchAll(/\(\s*["'](\w+)["'],\s*\w*[mM]arker\w*/g)].map(
          ([, command]) => `${name} ${command}`,
        ),
    );
    expect(commands.toSorted()).toEqual(
      ['addBaseMarkerIfNeeded ZADD', 'addDelayMarkerIfNeeded ZADD', 'pause DEL', 'pause ZADD'].toSorted(),
    );
  });
});

describe('notes', () => {
  let on: Bench;
  beforeAll(async () => {
    on = await bench();
  });
  afterEach(() => on.reset());
  afterAll(() => on[Symbol.asyncDispose]());

  function batch() {
    const mail = lanesOf(on, 'mail');
    const client = createIORedisClient(on.redis);
    const written: (readonly string[])[] = [];
    const errors: unknown[] = [];
    const notes = new TouchBatch({
      write: async (tenants) => {
        written.push(tenants);
        await touch(client, mail.keys, tenants);
      },
      failed: (error) => errors.push(error),
    });
    return { mail, notes, written, errors };
  }

  it('of one turn are one script, behind the jobs', async () => {
    const { mail, notes, written } = batch();
    const adding = ['acme', 'a', 'acme', 'ac'].map(async (tenant) => {
      const job = mail.lane(tenant).add('job', {});
      notes.touch(tenant);
      await job;
    });
    await Promise.all(adding);
    await notes.settled();
    expect(written).toEqual([['acme', 'a', 'ac']]);
    expect((await mail.members('ready')).toSorted()).toEqual(['a', 'ac', 'acme']);
    expect(await mail.members('wake')).toEqual(['0']);
  });

  it('do not change the place of a lane that is ready', async () => {
    const { mail, notes } = batch();
    await on.redis.zadd(mail.keys.ready, 7, 'acme');
    notes.touch('acme');
    await notes.settled();
    expect(await on.redis.zscore(mail.keys.ready, 'acme')).toBe('7');
  });

  it('are written without waiting when the connection is about to be closed', async () => {
    const { mail, notes, written } = batch();
    notes.touch('acme');
    await notes.settled();
    expect(await mail.members('ready')).toEqual(['acme']);
    // Nothing left, nothing written: an empty note would wake a worker.
    await notes.settled();
    await Promise.resolve();
    expect(written.length).toBe(1);
  });

  it('that failed are told, and written with the next ones', async () => {
    const { mail, notes, errors } = batch();
    await on.redis.set(mail.keys.ready, 'no sorted set');
    notes.touch('acme');
    await notes.settled();
    expect(errors.map(String)).toEqual([expect.stringContaining('WRONGTYPE')]);
    await on.redis.del(mail.keys.ready);
    notes.touch('a');
    await notes.settled();
    expect((await mail.members('ready')).toSorted()).toEqual(['a', 'acme']);
  });

  it('can be part of a pipeline, behind its jobs', async () => {
    const { mail } = batch();
    const client: IRedisClient = createIORedisClient(on.redis);
    const pipeline = client.pipeline();
    pipeline.hset('x', { a: 1 });
    touch(pipeline, mail.keys, ['acme', 'a']);
    expect((await pipeline.exec())?.map(([error]) => error)).toEqual([null, null]);
    expect((await mail.members('ready')).toSorted()).toEqual(['a', 'acme']);
  });
});

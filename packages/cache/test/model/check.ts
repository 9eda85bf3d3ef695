import { freshRedis } from '@tenantkit/testing';
import fc, { type Arbitrary } from 'fast-check';
import { Redis as Raw } from 'ioredis';
import { expect, inject } from 'vitest';
import { rowOf } from '../../src/rows.ts';
import { callsOf, describeCommands, type Described } from './grammar.ts';
import { FORMS, type Step } from './replay.ts';
import { Worlds, type Turn } from './worlds.ts';

const TENANTS = ['a', 'a-b', 'acme'] as const;

// About as many commands as one turn and one program have, see `turns` and `programs` below.
const STEPS = 24;
const TURNS = 16;
const CALLS = 2;

// Forms that are one command each, which autopipelining keeps in order.
const SINGLE = FORMS.filter((form) => !['pipeline', 'batch', 'multi'].includes(form));

/** Why a command that works inside a tenant is not called here. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  hrandfield: 'chance decides about its reply',
  'memory|usage': 'it counts the bytes of the physical key',
  spop: 'chance decides about what is left',
  srandmember: 'chance decides about its reply',
  zlexcount: 'where scores differ, chance decides about a range by text',
  zrandmember: 'chance decides about its reply',
  zrangebylex: 'as zlexcount',
  zremrangebylex: 'as zlexcount',
  zrevrangebylex: 'as zlexcount',
};

/** Groups of commands that have tests of their own, since they are not about stored data, or run texts of callers. */
const OTHER_GROUPS: ReadonlySet<string> = new Set([
  'cluster',
  'connection',
  'pubsub',
  'scripting',
  'server',
  'transactions',
]);

/**
 * Runs random programs of three tenants on shared clients, and the same programs of each tenant alone.
 *
 * A failure prints what was done to the same keys before, its seed and its path: `MODEL_SEED` and `MODEL_PATH`
 * repeat it, `MODEL_SHRINK=1` looks for a smaller one.
 *
 * @param commands - how many commands to send at least
 * @returns how many there were
 */
export async function checkAgainstModel({ commands }: { readonly commands: number }): Promise<number> {
  const described = await commandsToCall();
  await using worlds = await Worlds.open(TENANTS, described);
  const { MODEL_SEED: seed, MODEL_PATH: path } = process.env;
  const program = programs(described);
  await fc.assert(
    fc.asyncProperty(program, async (turns) => {
      await worlds.clear();
      for (const turn of turns) await worlds.play(turn);
      await worlds.compare();
    }),
    {
      // Every attempt to shrink runs two servers through a whole program: minutes, for whoever asks for them.
      endOnFailure: process.env['MODEL_SHRINK'] === undefined,
      numRuns: Math.ceil((1.05 * commands) / (TURNS * STEPS * CALLS)),
      ...(seed === undefined ? {} : { seed: Number(seed) }),
      ...(path === undefined ? {} : { path }),
    },
  );
  const never = described.map(({ name }) => name).filter((name) => !worlds.seen.sent.has(name));
  expect(never, 'these were never sent').toEqual([]);
  // Most calls have to mean something.
  expect(worlds.counts.failed / worlds.counts.sent).toBeLessThan(0.5);
  return worlds.counts.sent;
}

/** Every command that the table allows, as the live server describes it: a new row joins by itself. */
async function commandsToCall(): Promise<Described[]> {
  await using own = await freshRedis(inject('servers').redis).then((its) => ({
    ...its,
    [Symbol.asyncDispose]: its.cleanup,
  }));
  const server = new Raw(own.url, { replyMapping: 'resp3' });
  try {
    const all = await describeCommands(server);
    return all.filter(({ name, group }) => {
      const [command = name, sub] = name.split('|');
      const { rule, blocks } = rowOf(command, sub === undefined ? [] : [sub]);
      // What passes as it is, too: a row that forgets a key is to be found here.
      const isCalled =
        rule.kind !== 'refuse' &&
        !(rule.kind === 'custom' && (rule.custom === 'scan' || rule.custom === 'walk'));
      return isCalled && !blocks([]) && LEFT_OUT[name] === undefined && !OTHER_GROUPS.has(group);
    });
  } finally {
    server.disconnect();
  }
}

function programs(described: readonly Described[]): Arbitrary<readonly Turn[]> {
  // Every kind of value as often as every other, whatever the number of its commands.
  const groups = Map.groupBy(described, ({ group }) => group);
  const call = fc.oneof(...[...groups.values()].map((group) => fc.oneof(...group.map(callsOf))));
  const step = (forms: readonly Step['form'][]): Arbitrary<Step> =>
    fc.record({
      tenant: fc.constantFrom(...TENANTS),
      form: fc.constantFrom(...forms),
      calls: fc.array(call, { minLength: 1, maxLength: 2 * CALLS - 1 }),
    });
  const steps = (forms: readonly Step['form'][]): Arbitrary<Step[]> =>
    fc.array(step(forms), { minLength: STEPS - 4, maxLength: STEPS + 8, size: 'max' });
  const turns: Arbitrary<Turn> = fc.oneof(
    { weight: 2, arbitrary: fc.record({ client: fc.constant('plain' as const), steps: steps(FORMS) }) },
    {
      weight: 1,
      arbitrary: fc.record({ client: fc.constant('autopipelining' as const), steps: steps(SINGLE) }),
    },
  );
  return fc.array(turns, { minLength: TURNS - 2, maxLength: TURNS + 4, size: 'max' });
}

import { fork } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withTenant } from '@tenantkit/core';
import { expect, it } from 'vitest';
import { fileKeyStore } from '../src/index.ts';
import { FIELD, opened, reasonOf, temporary } from './support/keyrings.ts';
import { MASTER } from './support/process/crash-master.ts';
import type { Promised } from './support/process/messages.ts';

const CHURN = fileURLToPath(new URL('support/process/churn.ts', import.meta.url));

/** How many processes are killed: few by default, for its time; set it to 100 and more to search. */
const KILLS = Number(process.env['TENANTKIT_CHURN_KILLS'] ?? 10);

/** The longest that it goes on killing, in milliseconds, unless more kills were asked for. */
const BUDGET = process.env['TENANTKIT_CHURN_KILLS'] === undefined ? 12_000 : Infinity;

/** Enough that some are shredded and some are not. */
const TENANTS = 400;

it(
  'processes that are killed at any moment lose no value and bring no key back',
  { timeout: 600_000 },
  async () => {
    const directory = join(await temporary(), 'keys');
    const texts: { readonly tenant: string; readonly text: string }[] = [];
    const shredded = new Map<string, number>();
    const end = Date.now() + BUDGET;
    let kills = 0;

    async function one(): Promise<void> {
      while (kills < KILLS && Date.now() < end) {
        const child = fork(CHURN, [directory, String(TENANTS)], {
          execArgv: ['--conditions=@tenantkit/source'],
        });
        const gone = once(child, 'close');
        const last = randomInt(1, 40);
        let promised = 0;
        child.on('message', (message: Promised) => {
          if ('text' in message) texts.push(message);
          else
            shredded.set(
              message.tenant,
              Math.max(shredded.get(message.tenant) ?? 0, Date.parse(message.completeAt)),
            );
          promised += 1;
          // Somewhere within the operation that follows, or the one after it.
          if (promised === last) setTimeout(() => child.kill('SIGKILL'), randomInt(12));
        });
        // With every tenant shredded nothing is promised any more.
        const idle = setTimeout(() => child.kill('SIGKILL'), 4_000);
        const [code, signal] = (await gone) as [number | null, string | null];
        clearTimeout(idle);
        expect([code, signal]).toEqual([null, 'SIGKILL']);
        kills += 1;
      }
    }
    await Promise.all([one(), one()]);

    const { keyring, cipher, store } = await opened({
      master: Buffer.from(MASTER, 'hex'),
      store: fileKeyStore({ directory }),
    });
    const states = new Map<string, string>();
    for await (const { tenant, state } of keyring.list()) states.set(tenant, state);
    for (const tenant of shredded.keys()) expect([tenant, states.get(tenant)]).toEqual([tenant, 'shredded']);
    for (const { tenant, text } of texts) {
      const read = (): Promise<string> => withTenant(tenant, () => cipher.decryptAsync(text, FIELD));
      if (states.get(tenant) === 'live') expect(await read()).toBe(tenant);
      else expect(await reasonOf(read)).toBe('keyShredded');
    }
    let leftover = 0;
    for (const [tenant, state] of states) {
      if (state === 'shredded') {
        if ((await store.secrets(tenant)) > 0) leftover += 1;
        await keyring.shred(tenant);
        expect(await store.secrets(tenant)).toBe(0);
      } else {
        await store.sweep(tenant);
      }
      const files = await readdir(join(directory, `tk-${tenant}`));
      expect(files.filter((name) => !/^\d{8}\.json$/.test(name))).toEqual([]);
    }
    expect(texts.length).toBeGreaterThan(0);
    if (BUDGET === Infinity)
      process.stdout.write(
        `${JSON.stringify({ kills, texts: texts.length, shredded: shredded.size, tenants: states.size, leftover })}\n`,
      );
  },
);

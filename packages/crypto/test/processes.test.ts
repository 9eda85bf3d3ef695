import { fork, spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { withTenant } from '@tenantkit/core';
import { describe, expect, it, onTestFinished } from 'vitest';
import { fileKeyStore } from '../src/index.ts';
import { FIELD, inside, opened, reasonOf, temporary } from './support/keyrings.ts';
import { MASTER } from './support/process/crash-master.ts';
import type { Answer, Order } from './support/process/messages.ts';

const SOURCE = ['--conditions=@tenantkit/source'];
const CHILD = fileURLToPath(new URL('support/process/child.ts', import.meta.url));
const CRASH = fileURLToPath(new URL('support/process/crash.ts', import.meta.url));

class Child {
  readonly #process: ChildProcess;
  readonly #answers: Answer[] = [];

  constructor(order: Order) {
    this.#process = fork(CHILD, [], { execArgv: SOURCE });
    this.#process.on('message', (message) => this.#answers.push(message as Answer));
    this.#process.send(order);
    onTestFinished(() => void this.#process.kill('SIGKILL'));
  }

  go(): void {
    this.#process.send({ kind: 'go' });
  }

  async answer<K extends Answer['kind']>(kind: K): Promise<Extract<Answer, { kind: K }>> {
    for (;;) {
      const found = this.#answers.find((answer) => answer.kind === kind);
      if (found !== undefined) return found as Extract<Answer, { kind: K }>;
      const [message] = await Promise.race([
        once(this.#process, 'message'),
        once(this.#process, 'disconnect'),
      ]);
      if (message === undefined) throw new Error('the child has ended without an answer');
    }
  }
}

describe('several processes on one key directory', () => {
  it('that race for the first key end with one secret', async () => {
    const directory = join(await temporary(), 'keys');
    const master = randomBytes(32);
    const tenants = Array.from({ length: 25 }, (_, at) => `t${at}`);
    const order = {
      kind: 'race',
      directory,
      master: master.toString('hex'),
      maxAge: 60_000,
      tenants,
      text: '',
    } as const;
    const children = Array.from({ length: 4 }, () => new Child(order));
    await Promise.all(children.map((child) => child.answer('ready')));
    for (const child of children) child.go();
    const answers = await Promise.all(children.map((child) => child.answer('texts')));

    const { keyring, cipher } = await opened({ master, store: fileKeyStore({ directory }) });
    for (const [at, tenant] of tenants.entries()) {
      expect((await keyring.status(tenant)).epochs).toHaveLength(1);
      for (const { texts } of answers) {
        expect(await withTenant(tenant, () => cipher.decryptAsync(texts[at] ?? '', FIELD))).toBe(tenant);
      }
    }
  });

  it('refuse after a shred: a running one by the stated time, a new one at once', async () => {
    const directory = join(await temporary(), 'keys');
    const master = randomBytes(32);
    const { keyring, cipher } = await opened({
      master,
      store: fileKeyStore({ directory }),
      cache: { maxAge: 1_000 },
    });
    const text = await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD));
    const other = await inside(keyring, 'acme2', () => cipher.encrypt('y', FIELD));
    const order = {
      kind: 'read',
      directory,
      master: master.toString('hex'),
      maxAge: 2_000,
      tenants: ['acme'],
      text,
    } as const;
    const running = new Child(order);
    await running.answer('ready');

    const { completeAt } = await keyring.shred('acme');
    expect(await reasonOf(() => withTenant('acme', () => cipher.decrypt(text, FIELD)))).toBe('keyShredded');

    const refused = await running.answer('refused');
    // The other process had a longer maxAge than this one: the stated time is by its own.
    expect(refused.last).toBeLessThanOrEqual(Date.parse(completeAt));
    expect(refused.last).toBeGreaterThan(0);
    expect(refused.reason).toMatch(/^key(Shredded|NotLoaded)$/);
    expect(refused.again).toBe('keyShredded');

    const fresh = await new Child({ ...order, kind: 'once' }).answer('refused');
    expect(fresh.again).toBe('keyShredded');
    const untouched = await new Child({ ...order, kind: 'once', tenants: ['acme2'], text: other }).answer(
      'refused',
    );
    expect(untouched.again).toBe('y');
  });
});

// Each starts about ten processes, one after the other.
describe('a process that is killed', { timeout: 120_000 }, () => {
  async function prepared(withKey: boolean): Promise<{ directory: string; text: string; other: string }> {
    const directory = join(await temporary(), 'keys');
    const { keyring, cipher } = await opened({
      master: Buffer.from(MASTER, 'hex'),
      store: fileKeyStore({ directory }),
    });
    const other = await inside(keyring, 'acme2', () => cipher.encrypt('y', FIELD));
    const text = withKey ? await inside(keyring, 'acme', () => cipher.encrypt('x', FIELD)) : '';
    keyring.close();
    return { directory, text, other };
  }

  /** Whether it was killed, and not done before. */
  async function killedAt(directory: string, operation: string, position: number): Promise<boolean> {
    const child = spawn(process.execPath, [...SOURCE, CRASH, directory, operation, String(position)], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let complaint = '';
    child.stderr.on('data', (chunk: Buffer) => {
      complaint += chunk.toString();
    });
    const [code, signal] = (await once(child, 'close')) as [number | null, string | null];
    if (signal === 'SIGKILL') return true;
    expect([code, complaint]).toEqual([0, expect.any(String)]);
    return false;
  }

  /** Kills the operation before its first, second, … change, each time on a new directory, until it gets through. */
  async function atEveryStep(
    operation: string,
    withKey: boolean,
    check: (found: Awaited<ReturnType<typeof opened>>, text: string) => Promise<void>,
  ): Promise<number> {
    for (let position = 1; ; position += 1) {
      const { directory, text, other } = await prepared(withKey);
      const killed = await killedAt(directory, operation, position);
      const found = await opened({ master: Buffer.from(MASTER, 'hex'), store: fileKeyStore({ directory }) });
      await check(found, text);
      expect(await withTenant('acme2', () => found.cipher.decryptAsync(other, FIELD))).toBe('y');
      if (!killed) return position - 1;
    }
  }

  it('while it makes a first key leaves a tenant that gets one', async () => {
    const steps = await atEveryStep('create', false, async ({ keyring, cipher }) => {
      const text = await withTenant('acme', () => cipher.encryptAsync('x', FIELD));
      expect(await withTenant('acme', () => cipher.decryptAsync(text, FIELD))).toBe('x');
      expect((await keyring.status('acme')).epochs).toHaveLength(1);
    });
    expect(steps).toBeGreaterThanOrEqual(6);
  });

  it('while it rotates leaves old values readable, and a next rotation works', async () => {
    const steps = await atEveryStep('rotate', true, async ({ keyring, cipher, store }, text) => {
      expect(await withTenant('acme', () => cipher.decryptAsync(text, FIELD))).toBe('x');
      const before = (await keyring.status('acme')).epochs.length;
      expect((await keyring.rotate('acme')).epoch).toBe(before + 1);
      const fresh = await withTenant('acme', () => cipher.encryptAsync('new', FIELD));
      expect(await withTenant('acme', () => cipher.decryptAsync(fresh, FIELD))).toBe('new');
      expect(await withTenant('acme', () => cipher.decryptAsync(text, FIELD))).toBe('x');
      // Nothing is left behind but what counts.
      expect(await store.secrets('acme')).toBe(before + 1);
    });
    expect(steps).toBeGreaterThanOrEqual(6);
  });

  it('while it shreds leaves a tenant that is either whole or gone, and gone after the next shred', async () => {
    const states = new Set<string>();
    const steps = await atEveryStep('shred', true, async ({ keyring, cipher, store }, text) => {
      const { state } = await keyring.status('acme');
      states.add(state);
      const read = withTenant('acme', () => cipher.decryptAsync(text, FIELD));
      if (state === 'live') expect(await read).toBe('x');
      else expect(await reasonOf(() => read)).toBe('keyShredded');
      expect((await keyring.shred('acme')).destroyed).toBe(1);
      expect(await store.secrets('acme')).toBe(0);
      expect(await reasonOf(() => withTenant('acme', () => cipher.decryptAsync(text, FIELD)))).toBe(
        'keyShredded',
      );
      expect(await reasonOf(() => withTenant('acme', () => cipher.encryptAsync('x', FIELD)))).toBe(
        'keyShredded',
      );
    });
    expect(steps).toBeGreaterThanOrEqual(6);
    expect([...states].toSorted()).toEqual(['live', 'shredded']);
  });
});

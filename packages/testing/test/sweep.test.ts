import { spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { identityOf, isSame } from '../src/servers/identity.ts';
import { clear, sweep } from '../src/servers/sweep.ts';

let temp: string;
let folder: string;
let child: ChildProcess;

beforeEach(() => {
  temp = mkdtempSync(join(tmpdir(), 'tenantkit-test-'));
  folder = join(temp, 'tenantkit-servers-old');
  mkdirSync(join(folder, 'records'), { recursive: true });
  child = spawn(process.execPath, ['-e', 'setInterval(() => undefined, 1000)'], {
    detached: true,
    stdio: 'ignore',
  });
});

afterEach(() => {
  child.kill('SIGKILL');
  rmSync(temp, { recursive: true, force: true });
});

describe('what a killed supervisor has left', () => {
  it('is killed by pid and start time, and its folder goes', async () => {
    record('supervisor', { kind: 'supervisor', pid: 2 ** 22, identity: 'of an earlier boot' });
    record('one', { kind: 'process', ...themselves(child) });
    const ended = new Promise((resolve) => child.once('exit', (_, signal) => resolve(signal)));
    await clear(folder);
    expect(await ended).toBe('SIGKILL');
    expect(existsSync(folder)).toBe(false);
  });

  it('a process that was given the same pid later is left alone', async () => {
    record('supervisor', { kind: 'supervisor', pid: 2 ** 22, identity: 'of an earlier boot' });
    const { pid, identity } = themselves(child);
    record('one', { kind: 'process', pid, identity: `${identity}0` });
    await clear(folder);
    expect(existsSync(folder)).toBe(false);
    expect(isSame(pid, identity)).toBe(true);
  });

  it('nothing is touched while the supervisor is alive', async () => {
    record('supervisor', { kind: 'supervisor', ...themselves(child) });
    record('one', { kind: 'process', ...themselves(child) });
    await clear(folder);
    expect(existsSync(folder)).toBe(true);
    expect(child.exitCode).toBeNull();
  });

  it('nothing is touched while a supervisor is just making its folder', async () => {
    await clear(folder);
    expect(existsSync(folder)).toBe(true);
  });

  it('folders of others are not looked at', async () => {
    const before = process.env['TMPDIR'];
    process.env['TMPDIR'] = temp;
    try {
      record('supervisor', { kind: 'supervisor', pid: 2 ** 22, identity: 'of an earlier boot' });
      mkdirSync(join(temp, 'somebody-else', 'records'), { recursive: true });
      expect(await sweep(join(temp, 'tenantkit-servers-own'))).toEqual([]);
      expect(existsSync(folder)).toBe(false);
      expect(existsSync(join(temp, 'somebody-else'))).toBe(true);
    } finally {
      if (before === undefined) delete process.env['TMPDIR'];
      else process.env['TMPDIR'] = before;
    }
  });
});

describe('identityOf', () => {
  it('is the same for the same process, and tells two processes apart', () => {
    const own = identityOf(process.pid);
    expect(own).toBeDefined();
    expect(identityOf(process.pid)).toBe(own);
    expect(themselves(child).identity).not.toBe(own);
  });

  it('is nothing for a process that has ended', async () => {
    const { pid } = themselves(child);
    const ended = new Promise((resolve) => child.once('exit', resolve));
    child.kill('SIGKILL');
    await ended;
    expect(identityOf(pid)).toBeUndefined();
  });
});

function record(name: string, content: object): void {
  writeFileSync(join(folder, 'records', name), JSON.stringify(content));
}

function themselves({ pid = 0 }: ChildProcess): { pid: number; identity: string } {
  return { pid, identity: identityOf(pid) ?? 'none' };
}

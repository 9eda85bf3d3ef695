import { thisHost, type Host } from '../src/servers/host.ts';
import { withoutServers } from './child.ts';

/** A machine with nothing on it: no variable, no program, no engine, no root. Tests add what they need. */
export function bareMachine(has: Partial<Host> = {}): Host {
  return {
    platform: 'linux',
    env: {},
    isRoot: false,
    hasApt: false,
    findProgram: () => undefined,
    findEngine: () => Promise.resolve(undefined),
    freePort: () => Promise.reject(new Error('no server may be started on this machine')),
    ...has,
  };
}

/** This machine with its own programs, whatever else it has. */
export function ownPrograms(more: Partial<Host> = {}): Host {
  return { ...thisHost({ ...withoutServers(), TENANTKIT_SERVERS: 'native' }), ...more };
}

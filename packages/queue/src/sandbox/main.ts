// The first file that a child of a sandboxed Worker runs: a process of its own, or a thread.
import { parentPort } from 'node:worker_threads';
import { SandboxChild } from './child.ts';
import type { ToChild } from './protocol.ts';

if (parentPort === null) {
  const child = new SandboxChild(toProcess);
  process.on('message', (message) => void child.receive(message as ToChild));
  process.on('SIGTERM', () => void child.end());
  process.on('SIGINT', () => void child.end());
  // The worker is gone: nobody will hear of this job, which another worker runs again, and no eraser waits for it.
  process.on('disconnect', () => process.exit());
  process.on('uncaughtException', (error) => void child.crash(error));
} else {
  const port = parentPort;
  const child = new SandboxChild(async (message) => port.postMessage(message));
  port.on('message', (message: ToChild) => void child.receive(message));
  process.on('uncaughtException', (error) => void child.crash(error));
}

function toProcess(message: object): Promise<void> {
  return new Promise((resolve, reject) => {
    process.send?.(message, undefined, {}, (error) => {
      if (error === null) resolve();
      else reject(error);
    });
  });
}

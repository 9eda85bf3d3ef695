// What the tests run in a sandbox: one case for each name of a job.
import { connect } from 'node:net';
import { parentPort, threadId, workerData } from 'node:worker_threads';
import { setTimeout as wait } from 'node:timers/promises';
import { currentTenant, isTenantkitError, OperationRefusedError } from '@tenantkit/core';

const atLoad = currentTenant() ?? 'none';
const later = wait(1).then(() => currentTenant() ?? 'none');
const place = `${process.pid}/${threadId}`;
const { node } = process.versions;
let jobs = 0;
let left;
let isArmed = false;

// What hostile code in a sandbox can see: the messages of the worker.
const port = parentPort ?? process;
let messages = [];
port.on('message', (message) => messages.push(message));
function send(message) {
  if (parentPort === null) process.send(message);
  // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a port of a thread has none
  else parentPort.postMessage(message);
}

const plain = (value) => JSON.parse(JSON.stringify(value));

export default async function probe(job, token, signal) {
  jobs += 1;
  return cases[job.name](job, token, signal);
}

const cases = {
  async tenant(job, token) {
    const seen = [currentTenant()];
    await wait(1);
    seen.push(currentTenant());
    await new Promise((resolve) => {
      setTimeout(() => {
        seen.push(currentTenant());
        setImmediate(() => process.nextTick(resolve));
      }, 1);
    });
    seen.push(currentTenant());
    await job.updateProgress(1);
    seen.push(currentTenant());
    return {
      seen,
      atLoad,
      later: await later,
      place,
      jobs,
      id: job.id,
      hasToken: typeof token === 'string',
      node,
    };
  },
  job: (job) => ({
    ...plain(job),
    methods: Object.keys(job)
      .filter((name) => typeof job[name] === 'function')
      .toSorted(),
  }),
  surroundings: (job) =>
    plain({ argv: process.argv, env: process.env, workerData, job: JSON.stringify(job) }),
  nothing: () => undefined,
  echo: (job) => job.data,
  async talk(job) {
    await job.updateProgress({ half: true });
    await job.log('first');
    await job.log('second');
    return job.progress;
  },
  async call(job) {
    const [method, ...args] = job.data.call;
    try {
      return { answered: await job[method](...args) };
    } catch (error) {
      return {
        typed: isTenantkitError(error),
        refused: error instanceof OperationRefusedError,
        isError: error instanceof Error && Object.prototype.toString.call(error) === '[object Error]',
        name: error.name,
        fields: { ...error },
        message: error.message,
        json: JSON.stringify(error),
      };
    }
  },
  fail() {
    const error = Object.assign(new Error('it failed'), { code: 'E_OWN', status: 418, inner: { deep: [1] } });
    throw error;
  },
  failText() {
    throw 'only a text';
  },
  failNothing() {
    throw undefined;
  },
  failHostile() {
    throw Object.defineProperty({}, 'message', {
      get() {
        throw new Error('a trap');
      },
    });
  },
  failCircle() {
    const error = new Error('a circle');
    error.self = error;
    error.big = 1n;
    throw error;
  },
  async fenced(job, _token, signal) {
    await job.updateProgress('running');
    while (!signal.aborted) await wait(1);
    return cases.call(job);
  },
  unwritable: () => ({ big: 1n, call() {} }),
  unrecoverable() {
    throw Object.assign(new Error('never again'), { name: 'UnrecoverableError' });
  },
  steer() {
    throw Object.assign(new Error('wait'), { name: 'DelayedError' });
  },
  exit: (job) => process.exit(job.data.code),
  kill: (job) => (process.kill(process.pid, job.data.signal), wait(60_000)),
  async uncaught() {
    setTimeout(() => {
      throw Object.assign(new Error('nobody caught it'), { code: 'E_LOOSE' });
    }, 1);
    await wait(60_000);
  },
  async unhandled() {
    void Promise.reject(new Error('nobody handled it'));
    await wait(60_000);
  },
  unawaited(job) {
    job.moveToWaitingChildren('0');
    return 'returned';
  },
  async parent(job, token) {
    if (job.data.hasWaited === true)
      return { values: await job.getChildrenValues(), counts: await job.getDependenciesCount() };
    await job.updateData({ hasWaited: true });
    await job.moveToWaitingChildren(token);
    throw Object.assign(new Error('wait'), { name: 'WaitingChildrenError' });
  },
  async later(job, token) {
    if (job.data.moved === true) return { starts: jobs, data: job.data };
    await job.updateData({ ...job.data, moved: true });
    await job.moveToDelayed(Date.now() + 1, token);
    throw Object.assign(new Error('later'), { name: 'DelayedError' });
  },
  unawaitedLog(job) {
    job.log('not awaited');
    return 'returned';
  },
  /** Leaves something running, that goes on in the next job of this child. */
  leave(job) {
    const started = currentTenant();
    left = {
      async speak() {
        const calls = [
          job.updateProgress('left behind'),
          job.log('left behind'),
          job.updateData({ left: 'behind' }),
        ];
        const results = await Promise.allSettled(calls);
        return results.map(({ status, reason }) => [status, reason?.code]);
      },
      tenant: new Promise((resolve) => {
        setTimeout(() => resolve([started, currentTenant()]), 50);
      }),
    };
    return place;
  },
  async afterLeave() {
    return { place, own: currentTenant(), spoke: await left.speak(), left: await left.tenant };
  },
  /** Leaves an error behind: it is thrown in the midst of the next job, which calls for it. */
  leaveError(job) {
    setInterval(() => {
      if (isArmed) throw new Error(`${job.data.secret} of another tenant`);
    }, 1);
    return place;
  },
  async meetError() {
    isArmed = true;
    await wait(60_000);
  },
  /** Ends the child before the next job, so slowly that the worker does not know of it. */
  leaveEnding() {
    process.on('exit', () => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300));
    // After the result is sent, and before a message can arrive.
    process.nextTick(() => process.exit());
    return place;
  },
  /** Ends the child at once, behind its result. */
  leaveNow() {
    setImmediate(() => process.exit());
    return place;
  },
  async long(job) {
    await job.updateProgress(place);
    await wait(60_000);
  },
  /** Holds a connection, which whoever listens sees end with this process. */
  async hold(job) {
    connect(job.data.port, '127.0.0.1').on('error', () => undefined);
    await wait(60_000);
  },
  async terminated(job) {
    process.kill(process.pid, 'SIGTERM');
    await wait(50);
    await job.log('after the signal');
    return place;
  },
  async slow(job) {
    await job.updateProgress('started');
    await wait(300);
    await job.log('nearly');
    return 'finished';
  },
  cancelled(job, _token, signal) {
    return new Promise((_resolve, reject) => {
      signal.addEventListener('abort', () => {
        reject(
          new Error(
            JSON.stringify([
              currentTenant()?.tenant,
              String(signal.reason?.message ?? signal.reason),
              signal.reason?.name,
            ]),
          ),
        );
      });
      void job.updateProgress('listening');
    });
  },
  async lie(job) {
    for (const message of job.data.messages) send(message);
    await job.updateProgress('lied');
    return 'honest';
  },
  /** Speaks in the name of its own job, past what a job offers. */
  async forge(job) {
    const { run } = messages.findLast(({ cmd }) => cmd === 'start');
    messages = [];
    for (const message of job.data.messages) send({ run, ...message });
    await job.log('all answered');
    return messages.filter(({ call }) => call >= 1000).map(({ call, error }) => [call, error?.own.message]);
  },
  async forgeAndStay(job) {
    await job.updateProgress(process.pid);
    const { run } = messages.findLast(({ cmd }) => cmd === 'start');
    send({ run, ...job.data });
    await wait(60_000);
  },
  /** Needs too much memory as soon as the job has ended. */
  leaveEating() {
    setTimeout(() => cases.eat(), 50);
  },
  async eat() {
    const all = [];
    for (;;) {
      all.push(Array.from({ length: 10_000 }, () => ({})));
      if (all.length % 50 === 0) await wait(0);
    }
  },
};

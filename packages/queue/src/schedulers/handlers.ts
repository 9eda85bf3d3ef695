import type { JobsOptions } from 'bullmq';
import { SignatureError, breach, refusal, type TenantContext } from '@tenantkit/core';
import { isWellFormed } from '../bytes.ts';
import { HEADER, signHeader } from '../header.ts';
import { storedOptions } from '../job-options.ts';
import { isJson, judgeTemplate, toHash } from '../store.ts';
import { BAD_DATA, BAD_NAME } from '../views/sign.ts';
import { position } from '../views/checks.ts';
import { change, onLane, stillAdmitted, admitted, type Guard, type Handler } from '../views/guard.ts';
import type { JobHash } from '../verify.ts';
import { schedulerBinding } from './binding.ts';
import { checkSchedulerId, iterationOf } from './ids.ts';
import { checkCount, checkNamed, checkSchedule, checkTemplateOptions, jobOptions } from './schedule.ts';

/** How a tenant makes, reads and removes the schedulers of its own lane. */
export const schedulerHandlers = {
  /** The template is signed once; each job that is made of it carries the same header. */
  async upsertScheduler(guard, tenant, operation, [given, next, data, template, schedule, ofJob]) {
    const id = checkSchedulerId(operation, given);
    const made = sign(guard, tenant, operation, id, { next, data, template, schedule, ofJob });
    const lane = await guard.store.registered(tenant.tenant);
    const since = await admitted(guard, tenant, operation);
    const reply: unknown = await lane.addJobScheduler(
      id,
      made.next,
      made.data,
      made.template,
      made.stored,
      made.job,
    );
    await stillAdmitted(guard, tenant, operation, since, () => lane.removeJobScheduler(id));
    const [job, delay]: unknown[] = Array.isArray(reply) ? reply : [];
    if (typeof job !== 'string' || iterationOf(job)?.scheduler !== id)
      throw breach('queue', operation, 'a reply that is no job of the scheduler came back', tenant.tenant);
    return [job, delay];
  },

  removeScheduler(guard, tenant, operation, [given]) {
    const id = checkSchedulerId(operation, given);
    return change(guard, tenant, operation, (lane) => lane.removeJobScheduler(id));
  },

  /** @throws {@link SignatureError} for one that is not verified */
  async scheduler(guard, { tenant }, operation, [given]) {
    const id = checkSchedulerId(operation, given);
    const lane = guard.store.lane(tenant);
    const reply: unknown = await lane.getJobScheduler(id);
    const [found, next]: unknown[] = Array.isArray(reply) ? reply : [];
    if (!Array.isArray(found)) return [null, null];
    return [Object.entries(verified(guard, tenant, operation, id, toHash(found))).flat(), next];
  },

  async schedulerData(guard, { tenant }, operation, [given]) {
    const id = checkSchedulerId(operation, given);
    const lane = guard.store.lane(tenant);
    const found: JobHash = await lane.getJobSchedulerData(id);
    if (Object.keys(found).length === 0) return found;
    return verified(guard, tenant, operation, id, found);
  },

  /** One that is not verified is left out. BullMQ would else remove it from the list of everything that is there. */
  async schedulers(guard, { tenant }, operation, [start, end, asc]) {
    const lane = guard.store.lane(tenant);
    const [from, to] = [position(operation, start), position(operation, end)];
    const found = await lane.getJobSchedulersRange(from, to, asc === true);
    const shown: string[] = [];
    for (let at = 0; at + 1 < found.length; at += 2) {
      const [id = '', next = ''] = found.slice(at, at + 2);
      const hash: JobHash = await lane.getJobSchedulerData(id);
      const judged = judgeTemplate({ context: guard.context, lane: tenant }, hash, id, operation);
      if (!(judged instanceof SignatureError)) shown.push(id, next);
    }
    return shown;
  },

  schedulersCount: (guard, tenant, operation) => onLane(guard, tenant, operation, []),

  isScheduler: (guard, tenant, operation, [given]) =>
    onLane(guard, tenant, operation, [checkSchedulerId(operation, given)]),
} satisfies Readonly<Record<string, Handler>>;

/** What BullMQ hands over to be stored. */
interface Given {
  readonly next: unknown;
  readonly data: unknown;
  readonly template: unknown;
  readonly schedule: unknown;
  readonly ofJob: unknown;
}

/**
 * Signs a template. What is stored is built from what was checked, each member read once; what BullMQ computes for the
 * first job is computed by its script.
 */
function sign({ context }: Guard, tenant: TenantContext, operation: string, id: string, given: Given) {
  const { name } = Object(given.schedule) as { name?: unknown };
  const schedule = checkSchedule(operation, { ...(Object(given.schedule) as object) });
  const { repeat, telemetry } = Object(given.ofJob) as { repeat?: unknown; telemetry?: unknown };
  const count = checkCount(operation, repeat);
  // The trace in which it was made, as in BullMQ.
  const options = checkTemplateOptions(operation, {
    ...(Object(given.template) as object),
    ...(telemetry === undefined ? {} : { telemetry }),
  });
  const { next, data } = given;
  if (typeof name !== 'string' || !isWellFormed(name)) throw refusal('queue', operation, BAD_NAME);
  if (typeof data !== 'string' || !isJson(data)) throw refusal('queue', operation, BAD_DATA);
  // Of `every` the script computes it.
  const isGiven = schedule.pattern !== undefined;
  const millis = isGiven ? checkNamed(operation, next) : 0;
  const template = { ...options, repeat: schedule };
  const now = Date.now();
  const header = signHeader(
    context.ring,
    { ...tenant, issuedAt: now },
    schedulerBinding(context, id, { name, options: storedOptions(template), data }),
  );
  const signed: JobsOptions & { readonly [HEADER]: string } = { ...template, [HEADER]: header };
  return {
    next: millis,
    data,
    template: signed,
    stored: { name, ...schedule },
    job: jobOptions({ ...signed }, id, {
      count,
      now,
      millis: isGiven ? millis : undefined,
    }),
  };
}

/** What BullMQ reads of a scheduler, but for its options. */
const FIELDS = [
  'name',
  'ic',
  'limit',
  'startDate',
  'endDate',
  'tz',
  'pattern',
  'every',
  'offset',
  'data',
] as const;

/**
 * A scheduler as its tenant sees it.
 *
 * @throws {@link SignatureError} when it is not verified
 */
function verified({ context }: Guard, lane: string, operation: string, id: string, hash: JobHash): JobHash {
  const judged = judgeTemplate({ context, lane }, hash, id, operation);
  if (judged instanceof SignatureError) throw judged;
  const { [HEADER]: _header, repeat: _schedule, ...options } = judged.options;
  const shown: Record<string, string> = {};
  for (const field of FIELDS) if (hash[field] !== undefined) shown[field] = hash[field];
  if (Object.keys(options).length > 0) shown['opts'] = JSON.stringify(options);
  return shown;
}

import { deduplicationHandlers } from '../deduplication.ts';
import { eventHandlers } from '../events/handlers.ts';
import { flowHandlers } from '../flows/handlers.ts';
import type { BackendCustom } from '../rules.ts';
import { schedulerHandlers } from '../schedulers/handlers.ts';
import { acting } from './act.ts';
import { adding } from './add.ts';
import type { Handler } from './guard.ts';
import { changing } from './job.ts';
import { logHandlers } from './logs.ts';
import { moving } from './moves.ts';
import { reading } from './read.ts';

/** How each call of a tenant is carried out. */
export const handlers: Readonly<Record<BackendCustom, Handler>> = Object.freeze({
  ...adding,
  ...reading,
  ...changing,
  ...logHandlers,
  ...moving,
  ...acting,
  ...deduplicationHandlers,
  ...eventHandlers,
  ...schedulerHandlers,
  ...flowHandlers,
});

import { requireScope } from '@tenantkit/core';
import { shared, type ClientCall } from './client.ts';
import { runEngine } from './engine.ts';
import { checkId } from './names.ts';
import { eachWorker, type SiloWorkers } from './silo-workers.ts';
import { engineOf, engines } from './worker-engine.ts';

/** Cancels a job of the tenant that asks, in whichever worker it runs. */
export function cancel({ self, operation, caller, args, proceed }: ClientCall): unknown {
  const scope = requireScope({ surface: 'queue', operation, caller });
  const [id, ...rest] = args;
  const { context, owner, silos } = engineOf(self);
  // Whoever names the job by hand says where it is.
  if (scope.bypass !== undefined) return proceed();
  const physical = context.names.encode(scope.tenant.tenant, checkId(operation, id));
  const isCancelled = runEngine(owner, () => proceed([physical, ...rest])) === true;
  if (isCancelled || silos === undefined) return isCancelled;
  return silos.workers.some((worker) => Reflect.apply(Reflect.get(worker, operation) as Call, worker, args));
}

type Call = (...args: readonly unknown[]) => unknown;

/** What is done to the Worker is done to those of silos as well. */
export function everywhere(call: ClientCall): unknown {
  const { self, operation, args } = call;
  const engine = engines.get(self);
  const own = shared(call, engine?.owner);
  if (operation === 'concurrency' && engine !== undefined) engine.store().concurrency = Number(args[0]);
  // In BullMQ's constructor, and where there are no silos.
  if (engine?.silos === undefined) return own;
  const { silos } = engine;
  // BullMQ's `resume` runs what does not run yet.
  if (operation === 'run' || operation === 'resume') silos.start();
  if (operation === 'run') return own;
  if (operation === 'concurrency')
    for (const worker of silos.workers) Reflect.set(worker, operation, args[0]);
  else return whole(silos, own, operation, args);
  return own;
}

async function whole(
  silos: SiloWorkers,
  own: unknown,
  operation: string,
  args: readonly unknown[],
): Promise<unknown> {
  if (operation === 'close' || operation === 'disconnect') silos.stop();
  const others = eachWorker(silos, async (worker) =>
    Reflect.apply(Reflect.get(worker, operation) as Call, worker, args),
  );
  const [answer] = await Promise.all([own, ...others]);
  return answer;
}

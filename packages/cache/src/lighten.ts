import { innerPrototype } from './pipeline-queue.ts';

/**
 * The same pipeline, in an object that is gone when nobody uses it any more. ioredis gives each pipeline a `length`
 * with a getter of its own, and so a hidden class of its own. V8 frees those with the old generation only: until
 * then they keep the pipeline, its commands and its replies, which every collection of the young one has to copy.
 * That was a third of the time of a pipeline of 100; see docs/benchmarks.md.
 *
 * @param made - as the constructor of ioredis has left it; nothing else may hold it, and it is empty afterwards
 * @param prototype - what the copy inherits
 */
export function lighten<P extends object>(made: P, prototype = innerPrototype): P {
  const light = Object.assign(Object.create(prototype) as P, made);
  for (const name of Object.keys(made)) Reflect.set(made, name, undefined);
  return light;
}

/**
 * Preloaded into the demo by its tests (`node --import`): takes one guard out of one adapter while Node loads
 * its source. The product has no switch for that.
 */
import { registerHooks } from 'node:module';
import { SABOTAGES } from './sabotages.ts';

const name = process.env['DEMO_SABOTAGE'] ?? '';
const sabotage = SABOTAGES[name];
if (sabotage === undefined) throw new Error(`no such sabotage: ${name}`);
let done = false;

registerHooks({
  load(url, context, nextLoad) {
    const loaded = nextLoad(url, context);
    if (!url.endsWith(sabotage.file)) return loaded;
    const source = Buffer.from(loaded.source as Uint8Array).toString();
    // A guard that has moved must be found again, not silently be left in place.
    if (source.split(sabotage.guard).length !== 2)
      throw new Error(`${sabotage.file} does not hold the guard once`);
    done = true;
    return { ...loaded, source: source.replace(sabotage.guard, () => sabotage.without) };
  },
});

process.on('exit', () => {
  if (!done) process.exitCode = 70;
});

import type { ErasureProgress } from '@tenantkit/erasure';
import { clean, type Streams } from './output.ts';

/** Shows how a run goes on: one moving line on a terminal, plain lines elsewhere, all of it on stderr. */
export interface ProgressView {
  show(progress: ErasureProgress): void;
  stop(): void;
}

/** Makes the view that fits the stream. */
export async function progressView({ err }: Streams): Promise<ProgressView> {
  // A terminal that does not know its width (`script`, some container runtimes) says 0: ora would clear lines
  // without end there.
  return err.isTTY === true && err.columns !== 0 ? movingLine(err) : plainLines(err);
}

/** A log holds what has begun and ended; counting up belongs on a terminal. */
function plainLines(err: Streams['err']): ProgressView {
  let waiting = false;
  return {
    show(progress) {
      if (progress.type === 'store' && progress.status === 'working') return;
      if (progress.type === 'waiting' && waiting) return;
      waiting = progress.type === 'waiting';
      err.write(`${describe(progress)}\n`);
    },
    stop: () => undefined,
  };
}

async function movingLine(err: Streams['err']): Promise<ProgressView> {
  // Only here: it costs a tenth of the time in which a command starts.
  const { default: ora } = await import('ora');
  const spinner = ora({ stream: err, discardStdin: false }).start('starting');
  return {
    show(progress) {
      if (progress.type === 'store' && progress.status !== 'working' && progress.status !== 'started') {
        const text = describe(progress);
        if (progress.status === 'done') spinner.succeed(text);
        else spinner.fail(text);
        spinner.start();
        return;
      }
      spinner.text = describe(progress);
    },
    stop: () => void spinner.stop(),
  };
}

const DOING = { plan: 'planning', count: 'counting', erase: 'erasing', verify: 'verifying' } as const;
const DONE = { plan: 'planned', count: 'counted', erase: 'erased', verify: 'recounted' } as const;

function describe(progress: ErasureProgress): string {
  if (progress.type === 'state') return progress.state.replaceAll('_', ' ');
  if (progress.type === 'waiting') {
    return `frozen; waiting ${Math.ceil(progress.remaining / 1_000)} s until no process can still write`;
  }
  const { store, phase, status, kind, done, total } = progress;
  const name = clean(store);
  if (status === 'failed') return `${name}: ${DOING[phase]} failed`;
  if (status === 'done') return `${name}: ${DONE[phase]}`;
  const amount =
    done === undefined ? '' : ` ${done}${total === undefined ? '' : ` of ${total}`} ${clean(kind ?? '')}`;
  return `${name}: ${DOING[phase]}${amount}`;
}

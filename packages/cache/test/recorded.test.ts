import { expect, it } from 'vitest';
import { describeCommands } from './record-commands.ts';
import { readRecorded } from './recorded.ts';
import { openCache } from './support.ts';

it('what is recorded of the commands of this server is what it says; record-commands.ts writes it anew', async () => {
  await using opened = await openCache();
  const [, self, , version] = (await opened.raw.call('HELLO', 3)) as string[];
  const release = `${self}@${/^\d+\.\d+/.exec(version ?? '')?.[0]}`;
  const recorded = readRecorded().filter(({ releases }) => releases.includes(release));
  expect(recorded.length).toBeGreaterThan(300);
  expect(await describeCommands(opened.raw)).toEqual(recorded.map(({ said }) => said).sort());
});

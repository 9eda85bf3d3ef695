import { settingOf } from '../setting.ts';

/** On what it ran. */
export function setting(): Promise<string> {
  const manifest = new URL(import.meta.resolve('@aws-sdk/client-s3/package.json'));
  return settingOf({ name: 'AWS SDK', manifest }, 'Ceph RGW with one OSD in memory');
}

import { randomBytes, randomUUID } from 'node:crypto';

/** Where Ceph runs: on this machine or in a container. */
export interface CephHost {
  /** A folder for data and configuration, empty. */
  readonly dir: string;
  /** The address and port that the S3 gateway binds. */
  readonly endpoint: string;
  /** The same of the gateway that queries are sent to. */
  readonly queryEndpoint: string;
  /** Two free ports for the monitor. */
  readonly monitorPorts: readonly [number, number];
  readonly write: (path: string, content: string) => Promise<void>;
  /** Runs a program to its end. @throws Error unless it ends with 0 */
  readonly run: (command: string, args: readonly string[]) => Promise<void>;
  /** Starts a daemon; where it can be told, it has its ports when this resolves. */
  readonly daemon: (name: string, command: string, args: readonly string[]) => Promise<void>;
}

/** The keys of the one user. */
export interface CephKeys {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** What the Debian packages are called, and one program of each. */
export const CEPH_PACKAGES = {
  radosgw: 'radosgw',
  'ceph-mon': 'ceph-mon',
  'ceph-osd': 'ceph-osd',
  'ceph-base': 'monmaptool',
  'ceph-common': 'ceph',
} as const;

/**
 * Brings up the smallest Ceph that has an S3 gateway: one monitor, one OSD that keeps its objects in memory, and
 * radosgw. No manager daemon: nothing here needs it, and it takes 300 MB.
 *
 * @returns the keys of a user who may also manage roles and policies
 */
export async function bringUpCeph(host: CephHost): Promise<CephKeys> {
  const { dir, endpoint, queryEndpoint, monitorPorts } = host;
  const cluster = randomUUID();
  const osd = randomUUID();
  const config = `${dir}/ceph.conf`;
  const conf = ['-c', config];
  const monitor = `[v2:127.0.0.1:${monitorPorts[0]},v1:127.0.0.1:${monitorPorts[1]}]`;
  const keys = {
    accessKeyId: randomBytes(10).toString('hex').toUpperCase(),
    secretAccessKey: randomBytes(20).toString('hex'),
  };

  await host.write(config, configuration({ dir, endpoint, queryEndpoint, cluster, monitor }));
  await host.write(`${dir}/keyring`, '');
  await host.run('mkdir', ['-p', `${dir}/mon/a`, `${dir}/osd/0`, `${dir}/run`]);
  const map = `${dir}/monmap`;
  await host.run('monmaptool', ['--create', '--clobber', '--fsid', cluster, '--addv', 'a', monitor, map]);
  await host.run('ceph-mon', [...conf, '-i', 'a', '--mkfs', '--monmap', map]);
  await host.daemon('mon', 'ceph-mon', [...conf, '-i', 'a']);
  await host.run('ceph', [...conf, '--connect-timeout', '60', 'osd', 'new', osd, '0']);
  await host.run('ceph-osd', [...conf, '-i', '0', '--mkfs', '--osd-uuid', osd]);
  await host.daemon('osd', 'ceph-osd', [...conf, '-i', '0']);
  await host.run('ceph', [
    ...conf,
    '--connect-timeout',
    '60',
    ...'osd crush add osd.0 1.0 host=h root=default'.split(' '),
  ]);
  await startGateway(host);
  await host.run('radosgw-admin', [
    ...conf,
    'user',
    'create',
    '--uid=tenantkit',
    '--display-name=tenantkit',
    `--access-key=${keys.accessKeyId}`,
    `--secret-key=${keys.secretAccessKey}`,
    '--caps=roles=*;user-policy=*;oidc-provider=*;users=*',
  ]);
  return keys;
}

/** Starts the S3 gateway of a Ceph that is up. */
export async function startGateway({ dir, daemon }: CephHost): Promise<void> {
  await daemon('rgw', 'radosgw', ['-c', `${dir}/ceph.conf`, '-n', 'client.rgw.a']);
}

/**
 * Starts a second one for `SelectObjectContent`. The parsers of queries and of POST policies are built from one library
 * in two ways that do not fit together: after its first query a gateway refuses every form (`Malformed JSON`), or ends.
 */
export async function startQueryGateway({ dir, daemon }: CephHost): Promise<void> {
  await daemon('queries', 'radosgw', ['-c', `${dir}/ceph.conf`, '-n', 'client.rgw.q']);
}

interface Settings {
  readonly dir: string;
  readonly endpoint: string;
  readonly queryEndpoint: string;
  readonly cluster: string;
  readonly monitor: string;
}

function configuration({ dir, endpoint, queryEndpoint, cluster, monitor }: Settings): string {
  const random = (length: number): string => randomBytes(length).toString('hex').slice(0, length);
  return `[global]
fsid = ${cluster}
mon host = ${monitor}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
# A port that is taken is no reason to wait: others are tried from outside.
ms bind retry count = 1
auth cluster required = none
auth service required = none
auth client required = none
auth supported = none
auth allow insecure global id reclaim = true
ms cluster mode = crc
ms service mode = crc
ms client mode = crc
ms mon cluster mode = crc
ms mon service mode = crc
ms mon client mode = crc
mon warn on insecure global id reclaim = false
# One OSD: one copy, and no search for a second host to put one on.
osd pool default size = 1
osd pool default min size = 1
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
# Few placement groups: the gateway makes a dozen pools.
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
mon max pg per osd = 1000
mon pg warn min per osd = 0
# The monitor collects changes for a second before it agrees on them; with one monitor there is nobody to agree
# with, and the gateway makes its pools one after the other: twelve seconds become one.
paxos propose interval = 0.02
paxos min wait = 0.01
mon data avail warn = 2
mon data avail crit = 1
run dir = ${dir}/run
pid file = ${dir}/run/$name.pid
log file = ${dir}/$name.log
# A daemon that cannot go on must say why: another thread writes its log, and now and then the end comes first.
log flush on exit = true
# The statistics of the monitor's database would be all that the end of its log shows.
debug rocksdb = 0
admin socket =
setuser match path =
osd max object name len = 2048
osd class load list = *
osd class default list = *
[mon]
mon data = ${dir}/mon/$id
mon initial members = a
[osd]
osd data = ${dir}/osd/$id
osd objectstore = memstore
memstore device bytes = 2147483648
[client.rgw.a]
# Without nodelay every reply with a body waits for the client's delayed acknowledgement: 45 ms instead of 3.
rgw frontends = beast endpoint=${endpoint} tcp_nodelay=1
[client.rgw.q]
rgw frontends = beast endpoint=${queryEndpoint} tcp_nodelay=1
[client]
keyring = ${dir}/keyring
rgw enable ops log = false
rgw s3 auth use sts = true
rgw sts key = ${random(16)}
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = testkey-1=${randomBytes(32).toString('base64')}
`;
}

import { storageBackstop, storageNames } from '@tenantkit/storage';
import { describe, expect, it } from 'vitest';
import { judgePolicy } from '../src/audit-policy.ts';

const bucket = 'uploads';
const ARN = `arn:aws:s3:::${bucket}`;
const APP = 'arn:aws:iam::123456789012:role/app';

const codes = (statement: object | object[], principals: readonly string[] = []): string[] =>
  judgePolicy(JSON.stringify({ Version: '2012-10-17', Statement: statement }), {
    bucket,
    names: storageNames(),
    principals: new Set(principals),
  }).map(({ code }) => code);

const allow = (more: object): object => ({
  Effect: 'Allow',
  Principal: { AWS: APP },
  Action: 's3:GetObject',
  Resource: `${ARN}/tenants/acme/*`,
  ...more,
});

describe('who is allowed', () => {
  it.each<[string, object, string[]]>([
    ['a principal, the objects of one tenant', {}, []],
    ['everybody', { Principal: '*' }, ['public_policy']],
    ['everybody, as an account', { Principal: { AWS: ['*'] } }, ['public_policy']],
    ['everybody of some kind', { Principal: { AWS: 'arn:aws:iam:::user/*' } }, ['public_policy']],
    ['everybody but one', { Principal: undefined, NotPrincipal: { AWS: APP } }, ['public_policy']],
    [
      'everybody in a network, one tenant',
      { Principal: '*', Condition: { StringEquals: { 'aws:SourceVpce': 'vpce-1' } } },
      [],
    ],
    [
      'everybody in a network, all tenants',
      {
        Principal: '*',
        Resource: `${ARN}/*`,
        Condition: { StringEquals: { 'aws:SourceVpce': 'vpce-1' } },
      },
      ['public_policy_conditional'],
    ],
    [
      'everybody from anywhere',
      { Principal: '*', Condition: { IpAddress: { 'aws:SourceIp': '0.0.0.0/0' } } },
      ['public_policy'],
    ],
    [
      'everybody, where a condition may be missing',
      { Principal: '*', Condition: { StringEqualsIfExists: { 'aws:SourceVpce': 'vpce-1' } } },
      ['public_policy'],
    ],
    [
      'everybody but a network',
      { Principal: '*', Condition: { StringNotEquals: { 'aws:SourceVpce': 'vpce-1' } } },
      ['public_policy'],
    ],
    [
      'everybody who says a header',
      { Principal: '*', Condition: { StringEquals: { 'aws:UserAgent': 'app' } } },
      ['public_policy'],
    ],
    ['nobody: it denies', { Effect: 'Deny', Principal: '*' }, []],
  ])('%s', (_, more, expected) => {
    expect(codes(allow(more))).toEqual(expected);
  });

  it('is left to the service for principals that it has named, by ARN or account', () => {
    const all = allow({ Resource: `${ARN}/*` });
    expect(codes(all)).toEqual(['policy_beyond_tenants']);
    expect(codes(all, [APP])).toEqual([]);
    expect(codes(all, ['123456789012'])).toEqual([]);
    expect(codes(all, ['210987654321'])).toEqual(['policy_beyond_tenants']);
    const service = allow({ Principal: { Service: 'logs.example.com' }, Resource: `${ARN}/*` });
    expect(codes(service)).toEqual(['policy_beyond_tenants']);
    expect(codes(service, ['logs.example.com'])).toEqual([]);
    // One that is named does not vouch for the others.
    expect(codes(allow({ Principal: { AWS: [APP, 'x'] }, Resource: `${ARN}/*` }), [APP])).toEqual([
      'policy_beyond_tenants',
    ]);
  });
});

describe('what is allowed', () => {
  const beyond = ['policy_beyond_tenants'];
  it.each<[string, object, string[]]>([
    ['one key of a tenant', { Resource: `${ARN}/tenants/acme/a.txt` }, []],
    ['a prefix without its slash, which has acme2', { Resource: `${ARN}/tenants/acme*` }, beyond],
    ['a part of an id', { Resource: `${ARN}/tenants/ac?e/*` }, beyond],
    ['the objects of all', { Resource: `${ARN}/*` }, beyond],
    ['all buckets', { Resource: '*' }, beyond],
    ['buckets of a name', { Resource: 'arn:aws:s3:::upl*/tenants/acme/*' }, beyond],
    ['another bucket', { Resource: 'arn:aws:s3:::uploads2/tenants/acme/*' }, beyond],
    ['one tenant and all', { Resource: [`${ARN}/tenants/acme/*`, `${ARN}/*`] }, beyond],
    ['all but one tenant', { Resource: undefined, NotResource: `${ARN}/tenants/acme/*` }, beyond],
    ['everything but one action', { Action: undefined, NotAction: 's3:DeleteObject' }, beyond],
    ['everything but, said beside an action', { NotAction: 's3:DeleteObject' }, beyond],
    ['all but, said beside a resource', { NotResource: `${ARN}/tenants/acme/*` }, beyond],
    ['a tenant in another partition', { Resource: `arn:aws-cn:s3:::${bucket}/tenants/acme/*` }, []],
    [
      'the tenant in the tag of the principal',
      { Resource: `${ARN}/tenants/\${aws:PrincipalTag/tenant}/*` },
      [],
    ],
    ['a tag without a slash', { Resource: `${ARN}/tenants/\${aws:PrincipalTag/tenant}*` }, beyond],
    ['a variable of the caller’s choice', { Resource: `${ARN}/tenants/\${aws:RequestTag/tenant}/*` }, beyond],
    ['markers of a tenant', { Resource: `${ARN}/tk!subjects/acme/*` }, []],
    ['markers of all', { Resource: `${ARN}/tk!subjects/*` }, beyond],
    ['a listing of all', { Action: 's3:ListBucket', Resource: ARN }, beyond],
    [
      'a listing of one tenant',
      {
        Action: ['s3:ListBucket', 's3:ListBucketVersions', 's3:GetBucketLocation'],
        Resource: ARN,
        Condition: { StringLike: { 's3:prefix': 'tenants/acme/*' } },
      },
      [],
    ],
    [
      'a listing without the slash',
      {
        Action: 's3:ListBucket',
        Resource: ARN,
        Condition: { StringLike: { 's3:prefix': ['tenants/acme*'] } },
      },
      beyond,
    ],
    [
      'a listing of one or all',
      {
        Action: 's3:ListBucket',
        Resource: ARN,
        Condition: { StringLike: { 's3:prefix': ['tenants/acme/*', ''] } },
      },
      beyond,
    ],
    [
      'a listing that may have no prefix',
      {
        Action: 's3:ListBucket',
        Resource: ARN,
        Condition: { StringLikeIfExists: { 's3:prefix': 'tenants/acme/*' } },
      },
      beyond,
    ],
    [
      'uploads of one tenant',
      {
        Action: 's3:ListBucketMultipartUploads',
        Resource: ARN,
        Condition: { StringLike: { 's3:prefix': 'tenants/acme/*' } },
      },
      [],
    ],
    [
      'uploads of all',
      {
        Action: 's3:ListBucketMultipartUploads',
        Resource: ARN,
        Condition: { StringLike: { 's3:prefix': 'tenants/*' } },
      },
      beyond,
    ],
    ['the policy itself', { Action: 's3:PutBucketPolicy', Resource: ARN }, beyond],
    ['actions with a wildcard on the bucket', { Action: 's3:Get*', Resource: ARN }, beyond],
    ['actions with a wildcard on objects of one tenant', { Action: 's3:*' }, []],
    ['objects, with the bucket named beside', { Resource: [ARN, `${ARN}/tenants/acme/*`] }, []],
  ])('%s', (_, more, expected) => {
    expect(codes(allow(more))).toEqual(expected);
  });

  it('by storageBackstop is nothing to report', () => {
    const { bucketPolicy } = storageBackstop('acme', { bucket, principals: [APP] });
    expect(codes([...(bucketPolicy?.Statement ?? [])])).toEqual([]);
  });
});

it('names the statement, and says when it cannot read the policy', () => {
  const judging = { bucket, names: storageNames(), principals: new Set<string>() };
  const named = JSON.stringify({ Statement: [allow({}), allow({ Sid: 'Wide', Principal: '*' })] });
  expect(judgePolicy(named, judging)).toEqual([{ code: 'public_policy', name: 'statement Wide' }]);
  for (const text of [
    '',
    '{}',
    '{"Statement":[{"Effect":"Maybe"}]}',
    '{"Statement":[{"Effect":"Allow","New":1}]}',
  ])
    expect(judgePolicy(text, judging)).toEqual([{ code: 'unreadable_policy', name: bucket }]);
});

import { createHash } from 'node:crypto';
import { CrossTenantError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';
import { assertDocument } from '../src/document.ts';
import type { CommandName } from '../src/rules.ts';
import { readXml } from '../src/xml.ts';
import { KEY, PART, QUERY, REALM, callOf } from './calls.ts';

const DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>';
const NAMESPACE = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"';

describe('a document', () => {
  it.each<[string, (readonly [path: string, text: string])[]]>([
    ['<a>b</a>', [['a', 'b']]],
    ['<A9z>b c\n</A9z>', [['A9z', 'b c\n']]],
    ['<a/>', [['a', '']]],
    ['<a></a>', [['a', '']]],
    [`${DECLARATION}<a ${NAMESPACE}>b</a>`, [['a', 'b']]],
    [`<a ${NAMESPACE}/>`, [['a', '']]],
    [
      '<a><b>1</b><b/><c><d>2</d></c></a>',
      [
        ['a/b', '1'],
        ['a/b', ''],
        ['a/c/d', '2'],
      ],
    ],
    ['<a><b/></a>', [['a/b', '']]],
    ['<a><b><c/></b></a>', [['a/b/c', '']]],
    ['<a>&amp;&lt;&gt;&quot;&apos;&#xD;&#x1F600;&#x10FFFF;</a>', [['a', '&<>"\'\r😀\u{10FFFF}']]],
    ['<a>&amp;amp; &amp;lt;x</a>', [['a', '&amp; &lt;x']]],
  ])('%s is read in one way', (document, texts) => {
    expect(readXml(document)).toEqual(texts.map(([path, text]) => ({ path, text })));
  });

  it.each([
    '',
    'a',
    ' <a/>',
    '<a/> ',
    '<a/><a/>',
    '<a>',
    '<a><b></a>',
    '<a></b>',
    '</a>',
    '<a></a></a>',
    '<a>b<c/></a>',
    '<a><c/>b</a>',
    '<a><b>1</b>\n</a>',
    '<a><b/>\n</a>',
    '<a>b<c>1</c></a>',
    '<a b="c"/>',
    '<a xmlns="x"/>',
    `<a ${NAMESPACE.replaceAll('.', 'x')}/>`,
    `<a><b ${NAMESPACE}>c</b></a>`,
    '<a >b</a>',
    '<a>b</a >',
    '<9a/>',
    '<a:b/>',
    '<a-b/>',
    `<a>${DECLARATION}</a>`,
    `<a/>${DECLARATION}`,
    DECLARATION,
    `${DECLARATION}${DECLARATION}<a/>`,
    '<?xml version="1x0" encoding="UTF-8"?><a/>',
    '<?xml version="1.0"?><a/>',
    'x<?xml version="1.0" encoding="UTF-8"?><a/>',
    '<!DOCTYPE a><a/>',
    '<a><!-- b --></a>',
    '<a><![CDATA[b]]></a>',
    '<a><?b?></a>',
    '<a>b>c</a>',
    '<a>b&c;</a>',
    '<a>&</a>',
    '<a>&#13;</a>',
    '<a>&#x110000;</a>',
    '<a>&#x0000041;</a>',
    '<a>&#x;</a>',
    '<a>&AMP;</a>',
  ])('%j is none', (document) => {
    expect(readXml(document)).toBeUndefined();
  });
});

const REMOVED =
  '<Delete><Object><Key>tenants/acme/a</Key><VersionId>v</VersionId></Object><Quiet>true</Quiet></Delete>';
const TAGS = '<Tagging><TagSet><Tag><Key>team</Key><Value>x</Value></Tag></TagSet></Tagging>';
const PARTS =
  '<CompleteMultipartUpload><Part><ETag>e</ETag><PartNumber>1</PartNumber></Part></CompleteMultipartUpload>';
const QUERIED = '<SelectObjectContentRequest><Expression>a\nb</Expression></SelectObjectContentRequest>';

/** A body of each command that has one in XML. */
const BODIES: readonly (readonly [CommandName, given: object, body: string])[] = [
  ['DeleteObjectsCommand', { Delete: { Objects: [KEY] } }, REMOVED],
  ['PutObjectTaggingCommand', { ...KEY, Tagging: { TagSet: [] } }, TAGS],
  ['CompleteMultipartUploadCommand', { ...KEY, UploadId: PART.UploadId }, PARTS],
  ['SelectObjectContentCommand', QUERY, QUERIED],
  ['RestoreObjectCommand', KEY, '<RestoreRequest><Days>1</Days></RestoreRequest>'],
];
const GIVEN = new Map<string, object>([
  ...BODIES.map(([name, given]) => [name, given] as const),
  ['GetObjectCommand', KEY],
]);

const UNCHECKED = 'the request was stopped: its body names something that was not checked';
const UNREAD = 'the request was stopped: its body is not as it was serialised';

describe('a body', () => {
  const check = (operation: CommandName, body: unknown): void => {
    assertDocument({ headers: {}, body } as never, callOf(operation, GIVEN.get(operation) ?? {}), REALM);
  };

  it.each(BODIES)('of %s passes as it was made', (operation, _given, body) => {
    expect(() => check(operation, body)).not.toThrow();
    expect(() => check(operation, `${DECLARATION}${body}`)).not.toThrow();
  });

  it.each([
    ['PutObjectTaggingCommand', '<Tagging/>', '<Tagging>x</Tagging>'],
    ['PutObjectTaggingCommand', TAGS, TAGS.replace('>team<', '>other<')],
    ['PutObjectTaggingCommand', TAGS, TAGS.replace('>team<', '><')],
    ['PutObjectTaggingCommand', TAGS, '<Tagging><TagSet><Tag>x</Tag></TagSet></Tagging>'],
    [
      'CompleteMultipartUploadCommand',
      '<CompleteMultipartUpload><Part/></CompleteMultipartUpload>',
      '<CompleteMultipartUpload><Part>x</Part></CompleteMultipartUpload>',
    ],
    ['DeleteObjectsCommand', REMOVED, REMOVED.replace('acme', 'acme2')],
    ['DeleteObjectsCommand', REMOVED, REMOVED.replace('/a<', '/<')],
    ['DeleteObjectsCommand', REMOVED, REMOVED.replace('>v<', '>../v<')],
    ['DeleteObjectsCommand', REMOVED, REMOVED.replaceAll('Quiet', 'Loud')],
    ['DeleteObjectsCommand', REMOVED, '<Delete><Object/></Delete>'],
    ['DeleteObjectsCommand', REMOVED, REMOVED.replaceAll('Delete', 'Remove')],
    ['DeleteObjectsCommand', REMOVED, TAGS],
    [
      'RestoreObjectCommand',
      '<RestoreRequest><Tier>x</Tier></RestoreRequest>',
      '<RestoreRequest><Type>SELECT</Type></RestoreRequest>',
    ],
    ['RestoreObjectCommand', '<RestoreRequest/>', '<RestoreRequest><OutputLocation/></RestoreRequest>'],
  ] as const)('of %s %s is stopped as %s', (operation, sound, changed) => {
    expect(() => check(operation, sound)).not.toThrow();
    expect(() => check(operation, changed)).toThrow(CrossTenantError);
    expect(() => check(operation, changed)).toThrow(UNCHECKED);
  });

  it('that has passed is looked at again when the same call would send another one', () => {
    const call = callOf('DeleteObjectsCommand', { Delete: { Objects: [KEY] } });
    const send = (body: string, of: string = body): void => {
      const headers = { 'X-Amz-Content-Sha256': createHash('sha256').update(of).digest('hex') };
      assertDocument({ headers, body } as never, call, REALM);
    };
    const foreign = REMOVED.replace('acme', 'acme2');
    for (let turn = 0; turn < 2; turn += 1) expect(() => send(REMOVED)).not.toThrow();
    expect(() => send(foreign)).toThrow(UNCHECKED);
    expect(() => send(foreign, REMOVED)).toThrow(CrossTenantError);
    expect(() => send(REMOVED, foreign)).toThrow('its signature would hold for another body');
    expect(() => send(REMOVED)).not.toThrow();
  });

  it('is compared with the keys that the call has made, and any other key is looked through', () => {
    const call = callOf('DeleteObjectsCommand', { Delete: { Objects: [KEY, { Key: 'b' }] } });
    const looked: string[] = [];
    const accepts: typeof REALM.names.accepts = (tenant, key) => {
      looked.push(key);
      return REALM.names.accepts(tenant, key);
    };
    const send = (...keys: readonly string[]): void => {
      const objects = keys.map((key) => `<Object><Key>tenants/${key}</Key></Object>`).join('');
      const body = `<Delete>${objects}</Delete>`;
      assertDocument({ headers: {}, body } as never, call, { ...REALM, names: { ...REALM.names, accepts } });
    };
    send('acme/a/one', 'acme/b');
    expect(looked).toEqual([]);
    send('acme/b', 'acme/other');
    expect(looked).toEqual(['tenants/acme/other']);
    // The same text of the same call has passed already.
    send('acme/b', 'acme/other');
    expect(looked).toEqual(['tenants/acme/other']);
    for (const foreign of ['acme2/b', 'acme/..', 'acme/']) expect(() => send(foreign)).toThrow(UNCHECKED);
  });

  it('may be none, and is not looked at where it is no document', () => {
    for (const body of [undefined, '']) expect(() => check('RestoreObjectCommand', body)).not.toThrow();
    for (const body of [REMOVED, Buffer.from('x')])
      expect(() => check('GetObjectCommand', body)).not.toThrow();
  });

  it('is compared with its digest alone, among other headers', () => {
    const call = callOf('DeleteObjectsCommand', { Delete: { Objects: [KEY] } });
    const digest = createHash('sha256').update(REMOVED).digest('hex');
    const send = (headers: object): void => assertDocument({ headers, body: REMOVED } as never, call, REALM);
    expect(() => send({ 'content-type': 'application/xml' })).not.toThrow();
    expect(() => send({ 'content-type': 'application/xml', 'x-amz-content-sha256': digest })).not.toThrow();
    expect(() => send({ 'content-type': digest, 'x-amz-content-sha256': 'x' })).toThrow(
      'its signature would hold for another body',
    );
  });

  it.each([Buffer.from(REMOVED), `${REMOVED} `, ' '])('that is %j is stopped', (body) => {
    expect(() => check('DeleteObjectsCommand', body)).toThrow(CrossTenantError);
    expect(() => check('DeleteObjectsCommand', body)).toThrow(UNREAD);
  });
});

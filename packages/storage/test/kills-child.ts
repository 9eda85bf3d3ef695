import { S3Client, storageEraser } from '@tenantkit/storage';

/** What a killed process was about to do: `erase`, or `verify`, which it never ends. */
const { bucket, options, work } = JSON.parse(process.env['WORK'] ?? '{}') as {
  bucket: string;
  options: ConstructorParameters<typeof S3Client>[0];
  work: 'erase' | 'verify';
};
const s3 = new S3Client({ ...options, tenant: { buckets: [bucket] } });
const say = (text: string): void => void process.stdout.write(`${text}\n`);
let planted = 0;
s3.middlewareStack.add(
  (next, { commandName = '' }) =>
    async (args) => {
      const result = await next(args);
      if (/^(?:CreateMultipartUpload|PutObject)Command$/.test(commandName)) planted += 1;
      if (planted < 2) return result;
      say('planted');
      return new Promise(() => setInterval(() => undefined, 1_000));
    },
  { step: 'initialize' },
);
const eraser = storageEraser(s3, { bucket });
if (work === 'verify') await eraser.verify({ tenant: 'acme' });
else await eraser.erase({ tenant: 'acme' }, { progress: ({ kind, done }) => say(`${kind} ${done}`) });
say('done');

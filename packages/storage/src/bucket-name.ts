import { z } from 'zod';

// Endings with which S3 marks what only looks like a bucket: directory buckets, access points, Object Lambda.
const NOT_A_PLAIN_BUCKET = /(?:--x-s3|--xa-s3|--table-s3|--ol-s3|-s3alias|\.mrap)$/;
const BUCKET = /^(?!xn--|\d+\.\d+\.\d+\.\d+$)[a-z0-9](?:[a-z0-9-]|\.(?!\.)){1,61}[a-z0-9]$/;

/** The plain name of a general purpose bucket. */
export const bucketName: z.ZodType<string> = z
  .string()
  .refine(
    (name) => BUCKET.test(name) && !NOT_A_PLAIN_BUCKET.test(name),
    'must be the plain name of a general purpose bucket, not an ARN, alias, URL or directory bucket',
  );

import type { Job as RawJob } from 'bullmq';

/** BullMQ's own default of a type parameter: whoever gives none gets what BullMQ gives. */
type Loose = RawJob['data'];

// BullMQ has these and does not export them. They say what is in a Job that stands in the place of the data.
/** The type of the data. */
export type ExtractDataType<DataTypeOrJob, Default> =
  DataTypeOrJob extends RawJob<infer Data, Loose, Loose> ? Data : Default;
/** The type of the result. */
export type ExtractResultType<DataTypeOrJob, Default> =
  DataTypeOrJob extends RawJob<Loose, infer Result, Loose> ? Result : Default;
/** The names. */
export type ExtractNameType<DataTypeOrJob, Default extends string> =
  DataTypeOrJob extends RawJob<Loose, Loose, infer Name> ? Name : Default;

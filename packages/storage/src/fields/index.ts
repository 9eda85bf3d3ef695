export * from './further.ts';
export * from './listings.ts';
export * from './multipart.ts';
export * from './objects.ts';
export type {
  Input,
  InputField,
  InputFields,
  InputRole,
  Output,
  OutputField,
  OutputFields,
} from './types.ts';

// A Worker in a process of its own: node worker.ts <options as JSON>. It prints a line for each job that ends.
import { currentTenant } from '@tenantkit/core';
import { Worker, type WorkerOptions } from '@tenantkit/queue';

const { url, key, file, options } = JSON.parse(process.argv[2] ?? '{}') as {
  readonly url: string;
  readonly key: { readonly kid: string; readonly secret: string };
  /** Without one the processor is a function. */
  readonly file?: string;
  readonly options?: Partial<WorkerOptions>;
};

const inline = async (job: { id?: string; data: unknown }): Promise<object> => {
  await new Promise((resolve) => setTimeout(resolve, 1));
  return { node: process.versions.node, tenant: currentTenant(), id: job.id, data: job.data };
};
const tell = (line: object): boolean => process.stdout.write(`${JSON.stringify(line)}\n`);
const worker = new Worker('mail', file ?? inline, {
  connection: { url },
  tenant: { signingKeys: [key] },
  ...options,
});
worker.on('completed', (_job, result) => tell({ result }));
worker.on('failed', (_job, error) => tell({ error: error.message }));
worker.on('error', (error) => tell({ error: error.message }));
process.on('SIGTERM', () => {
  void worker.close().then(() => process.exit());
});

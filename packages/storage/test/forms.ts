import type { PresignedPost } from '@tenantkit/storage/presign';

/** What a browser sends: fields in their order, the file last. */
export interface Sending {
  readonly url: string;
  fields: [string, string][];
  file: string;
  name: string;
  readonly headers: Record<string, string>;
}

/** Sends it, changed. */
export async function send(
  form: PresignedPost,
  change: (sending: Sending) => Partial<Sending> | void = () => undefined,
) {
  const sending: Sending = {
    ...form,
    fields: Object.entries(form.fields),
    file: 'posted',
    name: 'a.txt',
    headers: {},
  };
  const { url, fields, file, name, headers } = { ...sending, ...change(sending) };
  const body = new FormData();
  for (const field of fields) body.append(...field);
  body.append('file', new Blob([file]), name);
  const reply = await fetch(url, { method: 'POST', body, headers, redirect: 'manual' });
  return { status: reply.status, text: await reply.text() };
}

/** Changes of a field's value, of the fields, of the policy. */
export const set = (name: string, value: string) => (sending: Sending) => ({
  fields: sending.fields.map(([key, old]): [string, string] => [key, key === name ? value : old]),
});
export const add = (name: string, value: string) => (sending: Sending) => ({
  fields: [...sending.fields, [name, value] as [string, string]],
});
export const drop = (name: string) => (sending: Sending) => ({
  fields: sending.fields.filter(([key]) => key !== name),
});
export const repolicy =
  (change: (policy: { expiration: string; conditions: unknown[] }) => void) => (sending: Sending) => {
    const { Policy = '' } = Object.fromEntries(sending.fields);
    const policy = JSON.parse(Buffer.from(Policy, 'base64').toString()) as {
      expiration: string;
      conditions: unknown[];
    };
    change(policy);
    return set('Policy', Buffer.from(JSON.stringify(policy)).toString('base64'))(sending);
  };

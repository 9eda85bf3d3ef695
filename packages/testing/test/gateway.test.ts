import { describe, expect, inject, it } from 'vitest';
import { alone } from '../../../test/alone.ts';
import { acceptsPostForms, soundGateway } from '../src/servers/s3-check.ts';

const connection = inject('servers').s3;

describe('the form that a gateway is tried with', () => {
  it('is accepted by a sound one, and refused when its signature is wrong', async () => {
    expect(await alone(() => acceptsPostForms(connection))).toMatchObject({ accepted: true });
    // The bucket is made with the right keys: only the form is signed with others.
    const answer = await alone(() =>
      acceptsPostForms(connection, { ...connection, secretAccessKey: 'another' }),
    );
    expect(answer).toMatchObject({ accepted: false });
    expect(answer.answer).toMatch(/^403 /);
  });
});

describe('a gateway that reads no form', () => {
  it.each([0, 1, 4])('is started again until it does: %i times', async (bad) => {
    const steps: string[] = [];
    await soundGateway(connection, {
      up: async () => void steps.push('up'),
      restart: async () => void steps.push('restart'),
      check: async () => ({
        accepted: steps.filter((step) => step === 'restart').length === bad,
        answer: '',
      }),
    });
    expect(steps).toEqual(['up', ...Array.from({ length: bad }, () => ['restart', 'up']).flat()]);
  });

  it('is given up in the end, with what it says', async () => {
    const never = soundGateway(connection, {
      up: () => Promise.resolve(),
      restart: () => Promise.resolve(),
      check: () => Promise.resolve({ accepted: false, answer: '400 Malformed JSON' }),
    });
    await expect(never).rejects.toThrow('400 Malformed JSON');
  });
});

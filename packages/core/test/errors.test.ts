import { SignatureError } from '@tenantkit/core';
import { describe, expect, it } from 'vitest';

describe('a signature that is not accepted', () => {
  const given = { surface: 'storage', operation: 'list', what: 'the token', reason: 'mismatch' } as const;

  it('says what to do by its reason, unless the surface knows better', () => {
    const error = new SignatureError(given);
    expect(error.hint).toBe('It was altered after signing, or moved from where it was signed for.');
    const better = new SignatureError({ ...given, hint: 'Begin anew.' });
    expect(better.hint).toBe('Begin anew.');
    expect(better.message).toBe(
      'storage.list: the signature of the token was not accepted (mismatch). Begin anew.',
    );
  });
});

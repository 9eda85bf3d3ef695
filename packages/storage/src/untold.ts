import { ConfigError } from '@tenantkit/core';
import { unnameable, unnameableNote } from './key-text.ts';

/** What was seen, and cannot be erased: a plan tells of it, and an erasure ends with an error, once all else is gone. */
export class Untold {
  /** How many have keys that no request can name. */
  unnamed = 0;
  /** How many markers of a person do not say what they are for. */
  forged = 0;

  /** For a plan. */
  notes(): string[] {
    return [
      ...(this.unnamed === 0 ? [] : [unnameableNote(this.unnamed)]),
      ...(this.forged === 0 ? [] : [`${forgedMarkers(this.forged)}: the erasure fails. ${LOOK}.`]),
    ];
  }

  /** @throws ConfigError */
  assertNone(): void {
    if (this.unnamed > 0) throw unnameable(this.unnamed);
    if (this.forged === 0) return;
    throw new ConfigError({
      surface: 'storage',
      operation: 'erase',
      problem: `${forgedMarkers(this.forged)}; everything else is erased`,
      hint: `${LOOK}, then run the erasure again.`,
    });
  }
}

function forgedMarkers(count: number): string {
  return `${count} markers of the person were overwritten past @tenantkit/storage: each does not hold the key that it is for, so an object may be overlooked`;
}

const LOOK =
  'They are under tk!subjects/<tenant>/<subject>/h/. See who may write there; look for objects with this person in the metadata tk-subject and a key of more than 800 bytes, erase them, remove the markers';

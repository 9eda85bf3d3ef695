import { canCreate, createdPlaces, type Argument } from './keyspec.ts';
import type { Row } from './rows.ts';
import { Sent } from './sent.ts';

const CREATES = new WeakMap<Row, boolean>();

/** Whether a command of this row may bring a key into being. */
export function mayCreate(row: Row): boolean {
  let creates = CREATES.get(row);
  if (creates === undefined) {
    const { rule } = row;
    // What the table does not describe may be sent inside acrossTenants.
    creates = rule.kind === 'rewrite' ? row.scripting || canCreate(rule.rewrite) : rule.kind === 'refuse';
    CREATES.set(row, creates);
  }
  return creates;
}

/** The physical keys that a command may bring into being. */
export function createdBy(command: Sent): readonly Argument[] {
  const { rule, scripting } = command.row;
  // A script may write to each of its keys.
  if (rule.kind !== 'rewrite' || scripting) return command.getKeys();
  const args = Sent.physicalOf(command);
  if (command.row.first) return args.slice(0, 1);
  return createdPlaces(rule.rewrite, args).map((place) => args[place] as Argument);
}

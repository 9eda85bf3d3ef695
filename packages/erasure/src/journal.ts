import { publish } from '@tenantkit/core';
import { ErasureNotFoundError } from './errors.ts';
import type { EventBody } from './events.ts';
import type { AppendGuard, Ledger } from './ledger.ts';
import { recordOf, type ErasureRecord } from './record.ts';

/** The ledger as the orchestrator uses it: what is written there is also published as audit events. */
export class Journal {
  readonly ledger: Ledger;
  /** Milliseconds since the epoch. */
  readonly now: () => number;

  constructor(ledger: Ledger, now: () => number) {
    this.ledger = ledger;
    this.now = now;
  }

  async load(id: string, operation = 'run'): Promise<ErasureRecord> {
    const entry = await this.ledger.read(id);
    if (entry === undefined) throw new ErasureNotFoundError({ operation });
    return recordOf(entry);
  }

  async append(
    { id, tenant }: Pick<ErasureRecord, 'id' | 'tenant'>,
    events: readonly EventBody[],
    guard: Omit<AppendGuard, 'at'>,
  ): Promise<void> {
    await this.ledger.append(id, events, { at: new Date(this.now()).toISOString(), ...guard });
    for (const event of events) announce(id, tenant, event);
  }
}

/** One audit event for every entry of the history. Names a person only by the erasure's id. */
export function announce(erasure: string, tenant: string, event: EventBody): void {
  const store = storeOf(event);
  publish('erasure', {
    surface: 'erasure',
    operation: event.type,
    message: store === undefined ? event.type : `${event.type}: ${store}`,
    tenant,
    actor: 'requestedBy' in event ? event.requestedBy : 'by' in event ? event.by : undefined,
    extra: {
      erasure,
      ...(store === undefined ? {} : { store }),
      ...('to' in event ? { state: event.to } : {}),
    },
  });
}

function storeOf(event: EventBody): string | undefined {
  if ('inventory' in event) return event.inventory.store;
  if ('outcome' in event) return event.outcome.store;
  if ('failure' in event) return event.failure.store;
  return 'verification' in event ? event.verification.store : undefined;
}

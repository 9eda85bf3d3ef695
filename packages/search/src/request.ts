import type { Serializer } from '@opensearch-project/opensearch';
import { refusal, type TenantContext } from '@tenantkit/core';
import { readBulk, readBulkReply } from './bulk.ts';
import { asText, stampDocument } from './documents.ts';
import { tellFailure } from './failures.ts';
import { injectCount, injectSearch } from './inject.ts';
import { isObject } from './json.ts';
import { tenantNames, type Names } from './names.ts';
import type { SearchSettings } from './options.ts';
import { readParams, writeParams, type Params } from './params.ts';
import { refusing, type Refuse } from './refusing.ts';
import {
  readCounted,
  readGot,
  readRefreshed,
  readSearched,
  readSource,
  readWritten,
  unreadable,
  type Reading,
} from './replies.ts';
import { findRoute } from './routes.ts';
import type { Handler, Operation } from './rules.ts';
import { sourceWithTenant } from './source.ts';
import { twice, type Walk } from './values.ts';

/** A request as the raw client's `Transport.request` is given it. */
export interface RawRequest {
  readonly method?: unknown;
  readonly path?: unknown;
  readonly body?: unknown;
  readonly bulkBody?: unknown;
  readonly querystring?: unknown;
  /** Put here by `client.http`, which also puts them into the options; read there. */
  readonly headers?: unknown;
}

/** For whom and by what a request is rewritten. */
export interface Session {
  readonly context: TenantContext;
  readonly settings: SearchSettings;
  readonly serializer: Serializer;
}

/** A request that may leave, and how its reply is read. */
export interface Prepared {
  readonly operation: Operation;
  /** The indices that it touches; each is checked before the first request to it leaves. */
  readonly indices: readonly string[];
  readonly method: string;
  readonly path: string;
  readonly querystring: string;
  readonly body: string | undefined;
  readonly contentType: 'application/json' | 'application/x-ndjson';
  /**
   * The body of a reply in logical names.
   * @throws {@link IsolationBreachError} when it holds anything of another tenant
   */
  read(body: unknown, status: number): unknown;
}

interface Incoming extends Session {
  readonly operation: Operation;
  readonly method: string;
  readonly named: readonly string[];
  readonly params: Params;
  readonly body: unknown;
  readonly names: Names;
  readonly refuse: Refuse;
}

// What a handler decides; the rest of a {@link Prepared} is the same for all.
interface Decided {
  readonly path: string;
  readonly method?: string;
  readonly indices: readonly string[];
  readonly params?: Params;
  readonly body?: string;
  readonly ndjson?: boolean;
  readonly read: (body: unknown, reading: Reading) => unknown;
  readonly sortIds?: readonly number[];
  readonly hidesSource?: boolean;
}

// Unreserved characters and percent-encoded bytes. In particular no backslash, no bare `?`, `#`, `%`, no
// control character, no space: whatever a server or proxy might fold into something else.
const PATH = /^\/(?:[A-Za-z0-9!$&'()*+,;=:@._~/-]|%[0-9A-Fa-f]{2})*$/;

/**
 * Rewrites a request for its tenant, or refuses it. Pure: no I/O, no context.
 *
 * @param merged - `options.querystring`, which the raw client merges over the parameters
 * @throws {@link OperationRefusedError}
 */
export function prepareRequest(raw: RawRequest, merged: unknown, session: Session): Prepared {
  // Each once: a getter must not answer the check with one path and the request with another.
  const {
    method: givenMethod,
    path: givenPath,
    body,
    bulkBody,
    querystring,
    headers: _headers,
    ...others
  } = raw;
  const unresolved = refusing('transport.request');
  if (Object.keys(others).length > 0) {
    throw unresolved(
      'it holds more than method, path, querystring and body',
      'Leave the rest out: the raw connection takes host and path from such keys.',
    );
  }
  if (typeof givenMethod !== 'string' || typeof givenPath !== 'string') {
    throw unresolved('its method or path is no text', 'Give both as texts.');
  }
  const method = givenMethod.toUpperCase();
  const mark = givenPath.indexOf('?');
  const path = mark === -1 ? givenPath : givenPath.slice(0, mark);
  if (!PATH.test(path)) {
    throw unresolved(
      'its path holds what a server could read in two ways',
      'Begin it with a slash and encode each segment with encodeURIComponent.',
    );
  }
  const route = findRoute(method, path);
  if (route === undefined) throw refusal('search', 'transport.request');
  const { operation, row, named } = route;
  if (row.kind === 'refuse') throw refusal('search', operation, row);
  const refuse = refusing(operation);
  if (isGiven(body) && isGiven(bulkBody)) throw twice({ refuse }, 'the body');
  const incoming: Incoming = {
    ...session,
    operation,
    method,
    named,
    params: readParams(
      operation,
      { path: mark === -1 ? '' : givenPath.slice(mark + 1), given: querystring, merged },
      refuse,
    ),
    body: isGiven(body) ? body : bulkBody,
    names: tenantNames(session.settings, session.context.tenant, operation),
    refuse,
  };
  return finish(incoming, row.kind === 'custom' ? HANDLERS[row.custom](incoming) : plain(incoming, path));
}

function finish(incoming: Incoming, decided: Decided): Prepared {
  const { operation, settings, names } = incoming;
  const { indices, sortIds = [], hidesSource = false, read } = decided;
  const reading: Reading = { operation, settings, names, index: indices[0] ?? '', sortIds, hidesSource };
  return {
    operation,
    indices,
    method: decided.method ?? incoming.method,
    path: decided.path,
    querystring: writeParams(decided.params ?? incoming.params),
    body: decided.body,
    contentType: decided.ndjson === true ? 'application/x-ndjson' : 'application/json',
    read(body, status) {
      // A HEAD has no body: the raw client makes true or false of it.
      if (typeof body === 'boolean' || body === '') return body;
      if (isObject(body) && 'error' in body && status >= 400) {
        return { error: tellFailure(body['error'], reading), status: body['status'] };
      }
      if (!isObject(body)) {
        // The page of a proxy: no reply of OpenSearch, so nobody's data, and nothing that could be checked.
        if (status >= 400) return '';
        throw unreadable(reading);
      }
      return read(body, reading);
    },
  };
}

const HANDLERS: Readonly<Record<Handler, (incoming: Incoming) => Decided>> = {
  write(incoming) {
    const { operation, named, names, body } = incoming;
    const index = indexOf(incoming);
    // An `_id` of the server's making would have no prefix. One made here also makes a retry of a request whose
    // reply was lost write the same document instead of a second one.
    const id = named.length > 1 ? idOf(incoming) : names.generate();
    return {
      method: 'PUT',
      path: documentPath(index, operation === 'create' ? '_create' : '_doc', id),
      indices: [index],
      body: stampDocument(isGiven(body) ? body : undefined, incoming),
      read: readWritten,
    };
  },

  read(incoming) {
    const { operation } = incoming;
    noBody(incoming);
    const index = indexOf(incoming);
    const isSource = operation === 'getSource' || operation === 'existsSource';
    const { params, hidesSource } = sourceWithTenant(incoming);
    return {
      path: documentPath(index, isSource ? '_source' : '_doc', idOf(incoming)),
      indices: [index],
      params,
      hidesSource,
      read: isSource ? readSource : readGot,
    };
  },

  remove(incoming) {
    noBody(incoming);
    const index = indexOf(incoming);
    return { path: documentPath(index, '_doc', idOf(incoming)), indices: [index], read: readWritten };
  },

  bulk(incoming) {
    const index = incoming.named.length > 0 ? indexOf(incoming) : undefined;
    const { actions, text } = readBulk(incoming.body, index, walkOf(incoming), incoming);
    return {
      method: 'POST',
      path: '/_bulk',
      indices: [...new Set(actions.map((action) => action.index))],
      body: text,
      ndjson: true,
      read: (body, reading) => readBulkReply(body, actions, reading),
    };
  },

  search(incoming) {
    const { context, settings } = incoming;
    const index = indexOf(incoming);
    const walk = walkOf(incoming);
    const { body, params } = injectSearch(incoming.body, incoming.params, walk, context, settings);
    return {
      method: 'POST',
      path: `/${index}/_search`,
      indices: [index],
      params,
      body: JSON.stringify(body),
      sortIds: walk.sortIds ?? [],
      read: readSearched,
    };
  },

  count(incoming) {
    const { context, settings } = incoming;
    const index = indexOf(incoming);
    return {
      method: 'POST',
      path: `/${index}/_count`,
      indices: [index],
      body: JSON.stringify(injectCount(incoming.body, walkOf(incoming), context, settings)),
      read: readCounted,
    };
  },

  refresh(incoming) {
    noBody(incoming);
    const [name] = incoming.named;
    // As helpers.bulk asks after its last document. It shows nothing, and covers what tenants work in.
    const indices =
      name === undefined || name === '_all' ? [...incoming.settings.indices] : [indexOf(incoming)];
    return { method: 'POST', path: `/${indices.join(',')}/_refresh`, indices, read: readRefreshed };
  },

  indexExists(incoming) {
    noBody(incoming);
    // Not checked: the answer to "is it there" must not be that it is not.
    return { path: `/${indexOf(incoming)}`, indices: [], read: (body) => body };
  },
};

// Rows that pass: `/`.
function plain(incoming: Incoming, path: string): Decided {
  noBody(incoming);
  return { path, indices: [], read: (body) => body };
}

function indexOf({ named, names }: Incoming): string {
  return names.index(named[0]);
}

function idOf({ named, names, refuse }: Incoming): string {
  const segment = named[1] ?? '';
  // What the raw client makes of an empty `_id`; a document of that name would be read, or deleted, instead.
  if (segment === 'null') {
    throw refuse('its _id is empty (the client writes null for it)', 'Give the _id; null is no _id here.');
  }
  let id: string;
  try {
    id = decodeURIComponent(segment);
  } catch {
    throw refuse('its _id is not percent-encoded UTF-8', 'Encode it with encodeURIComponent.');
  }
  return names.encode(id);
}

function documentPath(index: string, what: string, physicalId: string): string {
  return `/${index}/${what}/${encodeURIComponent(physicalId)}`;
}

function walkOf({ names, refuse, settings }: Incoming): Walk {
  return {
    names,
    refuse,
    reserved: new Set([settings.field, settings.subjectsField]),
    clauses: 0,
    sortIds: undefined,
  };
}

function noBody({ body, refuse }: Incoming): void {
  if (!isGiven(body)) return;
  const text = asText(body, refuse);
  if (text === undefined && isObject(body) && Object.keys(body).length === 0) return;
  throw refuse('it takes no body', 'Leave the body out.');
}

function isGiven(body: unknown): boolean {
  return body !== undefined && body !== null && body !== '';
}

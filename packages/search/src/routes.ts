import { rules, type Operation, type Row } from './rules.ts';

/** The operation that a method and a path are. */
export interface Route {
  readonly operation: Operation;
  readonly row: Row;
  /** The segments that stand for `{…}` in the template, in order, still percent-encoded. */
  readonly named: readonly string[];
}

interface Node {
  readonly literals: Map<string, Node>;
  readonly operations: Map<string, Operation>;
  named: Node | undefined;
}

const PLACEHOLDER = /^\{\w+(\?)?\}$/;
const NAMED = '{}';
const root = build();

/**
 * Finds the row of a method and a path. A literal segment wins over a named one, as on the server. Nothing is
 * normalised: a trailing or doubled slash, a dot segment or an encoded slash matches no literal.
 *
 * @param method - in upper case
 * @param path - begins with a slash, without a query string
 */
export function findRoute(method: string, path: string): Route | undefined {
  if (!path.startsWith('/')) return undefined;
  const named: string[] = [];
  const operation = descend(root, split(path), 0, method, named);
  return operation === undefined ? undefined : { operation, row: rules[operation], named };
}

/** Every method and path of a template, with `{}` for a name: `GET|POST /{index?}/_count` is four of them. */
export function expandRoute(template: string): readonly (readonly [method: string, path: string])[] {
  const [methods = '', path = ''] = template.split(' ');
  let paths = [''];
  for (const segment of split(path)) {
    const placeholder = PLACEHOLDER.exec(segment);
    const longer = paths.map((before) => `${before}/${placeholder === null ? segment : NAMED}`);
    paths = placeholder?.[1] === undefined ? longer : [...longer, ...paths];
  }
  return methods.split('|').flatMap((method) => paths.map((found) => [method, found] as const));
}

function descend(
  node: Node,
  path: readonly string[],
  at: number,
  method: string,
  named: string[],
): Operation | undefined {
  const segment = path[at];
  if (segment === undefined) return node.operations.get(method);
  const literal = node.literals.get(segment);
  const found = literal && descend(literal, path, at + 1, method, named);
  if (found !== undefined) return found;
  if (node.named === undefined || segment === '') return undefined;
  named.push(segment);
  const deeper = descend(node.named, path, at + 1, method, named);
  if (deeper === undefined) named.pop();
  return deeper;
}

function build(): Node {
  const top = newNode();
  for (const [operation, { routes }] of Object.entries(rules)) {
    for (const template of routes) {
      for (const [method, path] of expandRoute(template)) insert(top, method, path, operation as Operation);
    }
  }
  return top;
}

function insert(top: Node, method: string, path: string, operation: Operation): void {
  let node = top;
  for (const segment of split(path)) node = segment === NAMED ? named(node) : literal(node, segment);
  node.operations.set(method, operation);
}

function named(node: Node): Node {
  node.named ??= newNode();
  return node.named;
}

function literal(node: Node, segment: string): Node {
  const next = node.literals.get(segment) ?? newNode();
  node.literals.set(segment, next);
  return next;
}

function newNode(): Node {
  return { literals: new Map(), operations: new Map(), named: undefined };
}

function split(path: string): string[] {
  return path === '/' ? [''] : path.slice(1).split('/');
}

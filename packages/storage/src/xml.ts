/** One text in a document, with the names of the elements around it: `Delete/Object/Key`. */
export interface XmlText {
  readonly path: string;
  readonly text: string;
}

/**
 * Reads XML as the SDK writes it, and nothing else: elements without attributes but `xmlns` at the root, texts with
 * the entities that it makes. What is allowed elsewhere in XML (comments, CDATA, processing instructions, DOCTYPE,
 * other entities, texts between elements) could be read in two ways, and a second reading is how a key gets past a
 * check.
 *
 * @returns the texts and the empty elements in their order, or `undefined` when it is anything else
 */
export function readXml(document: string): XmlText[] | undefined {
  const texts: XmlText[] = [];
  const open: Frame[] = [];
  const top: Element = { path: '', inside: new Map() };
  let at = 0;
  let begun = false;
  while (at < document.length) {
    TOKEN.lastIndex = at;
    const [whole, declaration, end, start, namespace, empty, text] = TOKEN.exec(document) ?? [];
    if (whole === undefined || (begun && open.length === 0)) return undefined;
    const frame = open.at(-1);
    if (declaration !== undefined) {
      if (at !== 0) return undefined;
    } else if (start !== undefined) {
      // A text beside an element: the SDK writes none.
      if (frame?.text !== undefined || (namespace !== undefined && begun)) return undefined;
      if (frame !== undefined) frame.holds = true;
      begun = true;
      const element = inside(frame?.element ?? top, start);
      if (empty === undefined) open.push({ name: start, element });
      else texts.push({ path: element.path, text: '' });
    } else if (text !== undefined) {
      const plain = unescape(text);
      if (frame === undefined || frame.holds === true || plain === undefined) return undefined;
      frame.text = plain;
    } else {
      if (frame === undefined || frame.name !== end) return undefined;
      if (frame.holds !== true) texts.push({ path: frame.element.path, text: frame.text ?? '' });
      open.pop();
    }
    at += whole.length;
  }
  return begun && open.length === 0 ? texts : undefined;
}

interface Frame {
  readonly name: string;
  readonly element: Element;
  text?: string;
  /** Whether there are elements inside. */
  holds?: true;
}

/** Elements of one path, which a list has by the thousand: it is put together once. */
interface Element {
  readonly path: string;
  readonly inside: Map<string, Element>;
}

function inside(around: Element, name: string): Element {
  const known = around.inside.get(name);
  if (known !== undefined) return known;
  const path = around.path === '' ? name : `${around.path}/${name}`;
  const element: Element = { path, inside: new Map() };
  around.inside.set(name, element);
  return element;
}

const NAME = '[A-Za-z][A-Za-z0-9]*';
const TOKEN = new RegExp(
  [
    '(<\\?xml version="1\\.0" encoding="UTF-8"\\?>)',
    `</(${NAME})>`,
    `<(${NAME})( xmlns="http://s3\\.amazonaws\\.com/doc/2006-03-01/")?(/)?>`,
    '([^<>]+)',
  ].join('|'),
  'y',
);

const ENTITY = /&(?:(amp|lt|gt|quot|apos)|#x([0-9A-Fa-f]{1,6}));|&/g;
const NAMED: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', apos: "'" };

function unescape(text: string): string | undefined {
  if (!text.includes('&')) return text;
  let wellFormed = true;
  const plain = text.replace(ENTITY, (_, name?: string, code?: string) => {
    const point = code === undefined ? Number.NaN : Number.parseInt(code, 16);
    if (name !== undefined) return NAMED[name] ?? '';
    if (point <= 0x10_ff_ff) return String.fromCodePoint(point);
    wellFormed = false;
    return '';
  });
  return wellFormed ? plain : undefined;
}

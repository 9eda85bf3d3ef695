/** How deep JSON that nobody has signed may be nested: what copies it recurses, where JSON.parse does not. */
export const DEEPEST = 500;

/**
 * Whether a JSON text is nested no deeper than {@link DEEPEST}.
 *
 * @param text - valid JSON: of another text the answer says nothing
 */
export function isShallow(text: string): boolean {
  // Each level takes two characters.
  if (text.length <= 2 * DEEPEST) return true;
  let depth = 0;
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at];
    if (char === '"') at = endOfString(text, at);
    else if (char === '[' || char === '{') {
      depth += 1;
      if (depth > DEEPEST) return false;
    } else if (char === ']' || char === '}') depth -= 1;
  }
  return true;
}

/** The position of the quote that ends a string. */
function endOfString(text: string, start: number): number {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at;
}

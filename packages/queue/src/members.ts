/** The descriptor of a member of a class, wherever in the prototype chain it stands. */
export function memberOf(prototype: object, member: string): PropertyDescriptor | undefined {
  for (let at: object | null = prototype; at !== null; at = Object.getPrototypeOf(at) as object | null) {
    const found = Object.getOwnPropertyDescriptor(at, member);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Makes members of an object that carries the requests of all tenants read-only, methods included: assigned by one
 * of them, a function or address would see, change or redirect the requests of the others.
 */
export function lock(target: object, members: readonly string[]): void {
  for (const member of members) {
    const value: unknown = Reflect.get(target, member);
    if (value === undefined) continue;
    Object.defineProperty(target, member, {
      value,
      enumerable: Object.prototype.propertyIsEnumerable.call(target, member),
      writable: false,
      configurable: false,
    });
  }
}

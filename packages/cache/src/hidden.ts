/**
 * A base class whose constructor returns what it is given, so that a subclass puts its `#private` fields there: on
 * an object that somebody else has made, where nobody can read, write or copy them. In a WeakMap they would outlive
 * the object: V8 takes the values of an old map for alive until it collects the old generation.
 */
export const Hidden = function (given: object) {
  return given;
} as unknown as new (given: object) => object;

/** A class whose object is the one that it is given, so that the fields of a subclass come to stand on that. */
const Given = function given(object: object) {
  return object;
} as unknown as new (object: object) => object;

/** What one module notes on objects of others, where nobody else sees it. */
export interface Stamp<Note> {
  /** Notes something on an object, in the place of what was noted before. */
  set(object: object, note: Note): void;
  /** What was noted on an object, if anything. */
  get(object: object): Note | undefined;
}

/**
 * Makes a private field that can be put on any object. It is as closed as a WeakMap, and as cheap as a property: an
 * entry in a WeakMap takes a fortieth of what verifying a job takes, most of it in the garbage collector, and a queue
 * has several of them for each job.
 */
export function stamp<Note>(): Stamp<Note> {
  class Field extends Given {
    #note: Note;

    constructor(object: object, note: Note) {
      super(object);
      this.#note = note;
    }

    static set(object: object, note: Note): void {
      if (#note in object) object.#note = note;
      // oxlint-disable-next-line no-new -- it is put on the object, and the object is at hand
      else new Field(object, note);
    }

    static get(object: object): Note | undefined {
      return #note in object ? object.#note : undefined;
    }
  }
  return Field;
}

/** The latest time that a Date holds, in milliseconds. BullMQ stores a later one as well, at which nothing is run. */
export const LATEST = 8_640_000_000_000_000;

/** Names shared by generated code and the units it calls. */

/** Stands for "nothing to go on with": the record was deferred, or there is nothing to emit. Never a user's value. */
export const NONE: unique symbol = Symbol("none");

/** Stages of deferred records (`Deferred.stage`). Each unit uses those that it needs. */
export const RESULT = 0;
/** A new accumulator is awaited; the key is known. */
export const KEYED_BY_RECORD = 1;
/** The key itself is awaited. */
export const KEY = 2;

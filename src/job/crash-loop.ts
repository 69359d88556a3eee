/**
 * Crash loops: a job that fails the same way at the same record, again and again, will do so until somebody changes something. Pure.
 *
 * The same way means: the same error code of the same operator, at a record of the same content. That checkpoints complete in between makes no
 * difference: the record may lie far behind them. What fails at no record (a storage or a service that is away) may be well the next time: that is for
 * the restart strategy, which waits longer and longer.
 *
 * Invariant: another failure of the user's code, or one after a long time without any, begins to count anew.
 */
import type { ErrorShape } from "../base/errors.js";
import type { Failure } from "./failures.js";

/** So many failures of one kind in a row are a loop. */
export const CRASH_LOOP_FAILURES = 3;
/** Longer ago is another story. */
const FORGET_AFTER_MS = 600_000;
const MAX_SIGNATURE_CHARS = 1_000;

export interface LoopNotes {
  readonly signature: string;
  readonly times: number;
  readonly lastAt: number;
}

/** Null: at no record. What is no fault of the job leaves the count as it is. */
export function noteLoop(known: LoopNotes | null, failure: Failure, now: number): LoopNotes | null {
  if (failure.kind !== "user") return known;
  const signature = signatureOf(failure.error);
  if (signature === null) return null;
  const isSame = known !== null && known.signature === signature && now - known.lastAt < FORGET_AFTER_MS;
  return { signature, times: isSame ? known.times + 1 : 1, lastAt: now };
}

export const isLoop = (notes: LoopNotes | null): notes is LoopNotes => notes !== null && notes.times >= CRASH_LOOP_FAILURES;

export function crashLoop({ times }: LoopNotes, error: ErrorShape): ErrorShape {
  const { operator, record } = placeOf(error);
  const where = operator === null ? "" : ` in operator '${operator}'`;
  const at = record === null ? "" : `, at the record ${record}`;
  return {
    code: "CRASH_LOOP",
    message: `The job failed ${times} times in the same way${where}${at}: ${error.message}`,
    hint: "Mend the cause, then: holdfast resume APP --from latest. Its checkpoints and staged output are kept.",
    details: { cause: error, operator, record },
  };
}

/** Null: it failed at no record. */
function signatureOf(error: ErrorShape): string | null {
  const { operator, record } = placeOf(error);
  return record === null ? null : [error.code, operator ?? "", record].join("|").slice(0, MAX_SIGNATURE_CHARS);
}

function placeOf({ details }: ErrorShape): { readonly operator: string | null; readonly record: string | null } {
  const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
  return { operator: text(details?.operator), record: text(details?.record) };
}

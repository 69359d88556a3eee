/**
 * Whether the process that owns a LevelDB store's lock is stopped (SIGSTOP, a debugger): then it neither acts nor lets go, and nobody else can lead.
 *
 * Boundary: reads /proc of this machine; elsewhere, and of owners on other machines, it never says that anybody is stopped.
 * Invariant: `stopped` names an owner only while its main thread has not run for OWNER_STOPPED_MS, as of the call: a process that went on for a
 * moment between two looks has switched contexts, and counts anew.
 */
import { readFileSync } from "node:fs";
import { hostname } from "node:os";
import { OWNER_STOPPED_MS } from "../../env/coordination-store.js";
import { isStopped, type OwnerNote } from "./level-directory.js";

export interface OwnerWatch {
  /** At each attempt to get the lock: who has it, as far as is known. */
  look(note: OwnerNote | undefined): void;
  /** The lock was got, or nobody waits for it any more. */
  forget(): void;
  /** The candidate that owns the lock and has been stopped for OWNER_STOPPED_MS. */
  stopped(): string | null;
}

export function createOwnerWatch(now: () => number): OwnerWatch {
  let seen: { readonly note: OwnerNote; readonly ran: string; readonly since: number } | null = null;
  const look = (note: OwnerNote | undefined) => {
    const ran = note === undefined || note.host !== hostname() || !isStopped(note) ? null : switchesOf(note.pid);
    if (note === undefined || ran === null) seen = null;
    else if (seen?.note.pid !== note.pid || seen.note.startTicks !== note.startTicks || seen.ran !== ran)
      seen = { note, ran, since: now() };
  };
  return {
    look,
    forget: () => {
      seen = null;
    },
    stopped: () => {
      if (seen !== null) look(seen.note);
      return seen !== null && now() - seen.since >= OWNER_STOPPED_MS ? seen.note.candidate : null;
    },
  };
}

/** How often the main thread was switched in or out: the same text twice means that it did not run in between. Null: the process is gone. */
function switchesOf(pid: number): string | null {
  try {
    return (
      /^voluntary_ctxt_switches:.*\nnonvoluntary_ctxt_switches:.*$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[0] ?? null
    );
  } catch {
    return null;
  }
}

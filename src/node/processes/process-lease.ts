/**
 * A lease of a worker: a moment as the machine's uptime in whole seconds, written in place. Keepers end their processes when it grows old.
 * Two of them: `lease` (this worker process lives) and `leader-lease` (a leader confirmed this worker).
 */
import { closeSync, openSync, writeSync } from "node:fs";
import type { Log } from "../../env/log.js";
import { uptimeSeconds } from "./proc.js";

/** Always the same length, so that a reader sees the old text or the new one, and a full disk does not matter. */
const LEASE_TEXT_LENGTH = 12;

export interface Lease {
  readonly file: string;
  /** As of `ageMs` ago. */
  renew(ageMs?: number): void;
  close(): void;
}

export function openLease(file: string, log: Log): Lease {
  const fd = openSync(file, "a+", 0o600);
  closeSync(fd);
  const writing = openSync(file, "r+");
  let open = true;
  return {
    file,
    renew: (ageMs = 0) => {
      if (!open) return;
      try {
        const seconds = Math.max(0, uptimeSeconds() - Math.ceil(ageMs / 1_000));
        writeSync(writing, `${String(seconds).padEnd(LEASE_TEXT_LENGTH)}\n`, 0);
      } catch (thrown) {
        log.error("cannot renew the lease of this worker's programs: they will end themselves", { reason: String(thrown) });
      }
    },
    close: () => {
      if (!open) return;
      open = false;
      closeSync(writing);
    },
  };
}

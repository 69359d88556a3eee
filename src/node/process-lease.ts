/** The lease of a worker: the machine's uptime in seconds, written in place every second. Programs' keepers end them when it grows old. */
import { closeSync, openSync, writeSync } from "node:fs";
import type { Log } from "../env/log.js";
import { uptimeSeconds } from "./proc.js";

/** Always the same length, so that a reader sees the old text or the new one, and a full disk does not matter. */
const LEASE_TEXT_LENGTH = 12;

export interface Lease {
  readonly file: string;
  renew(): void;
  close(): void;
}

export function openLease(file: string, log: Log): Lease {
  const fd = openSync(file, "a+", 0o600);
  closeSync(fd);
  const writing = openSync(file, "r+");
  let open = true;
  return {
    file,
    renew: () => {
      if (!open) return;
      try {
        writeSync(writing, `${String(uptimeSeconds()).padEnd(LEASE_TEXT_LENGTH)}\n`, 0);
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

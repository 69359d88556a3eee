/**
 * Memory limits. Drivers and executors get a V8 heap below their limit and end by V8's own hand; programs are watched: when the resident memory of
 * a program and all that it started is beyond its limit, it is killed. (`ulimit -v` would break runtimes that reserve address space.)
 */
import type { Log } from "../../env/log.js";
import { residentBytes } from "./proc.js";
import { noteReason, outOfMemoryReason } from "./process-folder.js";
import { membersOf, signalGroup } from "./process-members.js";
import { type Entry, familyOf } from "./process-table.js";

const MIB = 1024 * 1024;
/** Of the limit, for what is not heap: code, stacks, buffers. A quarter, within these bounds. */
const MIN_RESERVE_BYTES = 32 * MIB;
const MAX_RESERVE_BYTES = 512 * MIB;
const MIN_HEAP_MIB = 16;

export function heapMegabytes(limitBytes: number): number {
  const reserve = Math.min(MAX_RESERVE_BYTES, Math.max(MIN_RESERVE_BYTES, limitBytes / 4));
  return Math.max(MIN_HEAP_MIB, Math.floor((limitBytes - reserve) / MIB));
}

/** One pass over /proc for all programs. */
export function killOverLimit(entries: readonly Entry[], log: Log): void {
  const programs = new Map(
    entries.filter((entry) => entry.facts.kind === "program").map((entry) => [familyOf(entry, false), entry]),
  );
  if (programs.size === 0) return;
  for (const [family, members] of membersOf([...programs.keys()])) {
    const entry = programs.get(family);
    if (entry === undefined) continue;
    const usedBytes = members.reduce((sum, member) => sum + residentBytes(member.pid), 0);
    if (usedBytes <= entry.facts.memoryBytes) continue;
    noteReason(entry.folder, outOfMemoryReason(entry.facts.memoryBytes));
    log.warn("process killed beyond its memory limit", {
      process: entry.processId,
      usedBytes,
      limitBytes: entry.facts.memoryBytes,
    });
    signalGroup(family, "SIGKILL");
  }
}

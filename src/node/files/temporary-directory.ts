/**
 * Directories for as long as a process lives, under the system's directory for temporary files. Their names say whose they are, so that
 * what a process that was killed has left is removed by the next one that makes such a directory.
 *
 *   holdfast-KIND-NAMESPACE.PID.START-RANDOM
 *
 * START: clock ticks after boot at which PID was started. NAMESPACE: in which that pid means something (containers may share the directory).
 */
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { isAlive, readStat } from "../processes/proc.js";

export interface TemporaryDirectory {
  readonly path: string;
  remove(): Promise<void>;
}

type Kind = "blobs" | "driver" | "plan" | "rehearsal" | "run";

const prefixOf = (kind: Kind): string => `holdfast-${kind}-${pidNamespace()}.`;

export function makeTemporaryDirectory(kind: Kind): TemporaryDirectory {
  sweepTemporaryDirectories(kind);
  const [parent, prefix] = [os.tmpdir(), prefixOf(kind)];
  const directory = mkdtempSync(path.join(parent, `${prefix}${process.pid}.${readStat(process.pid)?.startTicks ?? 0}-`));
  return { path: directory, remove: () => rm(directory, { recursive: true, force: true }) };
}

/** Removes what processes that live no more have left. Best effort: what belongs to another user, or vanishes meanwhile, is left alone. */
export function sweepTemporaryDirectories(kind: Kind): void {
  const [parent, prefix] = [os.tmpdir(), prefixOf(kind)];
  try {
    for (const name of readdirSync(parent)) {
      const owner = name.startsWith(prefix) ? /^([0-9]+)\.([0-9]+)-/.exec(name.slice(prefix.length)) : null;
      if (owner === null || isAlive({ pid: Number(owner[1]), startTicks: Number(owner[2]) })) continue;
      rmSync(path.join(parent, name), { recursive: true, force: true });
    }
  } catch {
    // Not this process's to remove.
  }
}

function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid").replace(/[^0-9]/g, "");
  } catch {
    return "0";
  }
}

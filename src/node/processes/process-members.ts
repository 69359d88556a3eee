/**
 * Which living processes belong to a launched one, and killing them all. A member is in the keeper's group or session, or was started with the
 * launch's token in its environment (so what called setsid is found too). What cleared its environment AND left the session is not found.
 *
 * Invariant: nothing is signalled by a number alone. A group or session counts only while its keeper is known to live, or has just been seen
 * to end (the kernel does not give out a pid again while a group or session still has that number).
 */
import { readFileSync } from "node:fs";
import type { Clock } from "../../env/clock.js";
import type { Log } from "../../env/log.js";
import { isAlive, livingProcesses, type ProcessIdentity, type ProcessStat } from "./proc.js";
import { TOKEN_VARIABLE } from "./process-environment.js";

export interface Family {
  readonly token: string;
  /** Undefined: not known to have started. */
  readonly keeper: ProcessIdentity | undefined;
  /** This launcher saw the keeper alive until its end a moment ago. */
  readonly justEnded: boolean;
}

const KILL_INTERVAL_MS = 20;
/** A process that has not died of SIGKILL by then hangs in the kernel (a broken disk, NFS): it is reported, and no longer waited for. */
const KILL_DEADLINE_MS = 10_000;

/** One pass over /proc for all families. */
export function membersOf(families: readonly Family[]): ReadonlyMap<Family, readonly ProcessStat[]> {
  const found = new Map<Family, ProcessStat[]>(families.map((family) => [family, []]));
  const byToken = new Map(families.map((family) => [family.token, family]));
  const byNumber = new Map<number, Family>();
  for (const family of families) {
    if (family.keeper !== undefined && (isAlive(family.keeper) || family.justEnded)) byNumber.set(family.keeper.pid, family);
  }
  for (const stat of livingProcesses()) {
    const candidate = byNumber.get(stat.groupId) ?? byNumber.get(stat.sessionId);
    const old = candidate?.keeper !== undefined && stat.startTicks >= candidate.keeper.startTicks;
    const family = candidate !== undefined && old ? candidate : byToken.get(tokenOf(stat.pid) ?? "");
    if (family !== undefined) found.get(family)?.push(stat);
  }
  return found;
}

function tokenOf(pid: number): string | undefined {
  try {
    return new RegExp(`(?:^|\\0)${TOKEN_VARIABLE}=([^\\0]*)`).exec(readFileSync(`/proc/${pid}/environ`, "latin1"))?.[1];
  } catch {
    return undefined;
  }
}

/**
 * Signals the whole group at once, if its keeper lives. Members that left it are dealt with when the keeper has ended (process-table.ts): that
 * takes a pass over /proc, which many ends share.
 */
export function signalGroup(family: Family, signal: "SIGTERM" | "SIGKILL"): void {
  if (family.keeper !== undefined && isAlive(family.keeper)) sendSignal(-family.keeper.pid, signal);
}

export function sendSignal(pid: number, signal: "SIGTERM" | "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended meanwhile.
  }
}

export interface Reaper {
  /** Kills whatever lives of the family; resolves when nothing does. Many calls share one pass over /proc. */
  kill(family: Family): Promise<void>;
  close(): void;
}

export function createReaper(clock: Clock, log: Log): Reaper {
  const waiting = new Map<Family, { readonly since: number; readonly done: () => void }>();
  let scheduled: { cancel(): void } | undefined;
  let closed = false;

  const pass = () => {
    scheduled = undefined;
    for (const [family, members] of membersOf([...waiting.keys()])) {
      const entry = waiting.get(family);
      if (entry === undefined) continue;
      for (const member of members) sendSignal(member.pid, "SIGKILL");
      const overdue = clock.now() - entry.since > KILL_DEADLINE_MS;
      if (overdue && members.length > 0)
        log.error("processes do not die of SIGKILL", { pids: members.map((member) => member.pid).join(",") });
      if (members.length > 0 && !overdue) continue;
      waiting.delete(family);
      entry.done();
    }
    schedule(KILL_INTERVAL_MS);
  };

  const schedule = (delayMs: number) => {
    if (scheduled !== undefined || closed || waiting.size === 0) return;
    scheduled = clock.at(clock.now() + delayMs, pass);
  };

  return {
    kill: (family) =>
      new Promise((done) => {
        waiting.set(family, { since: clock.now(), done });
        schedule(0);
      }),
    close: () => {
      closed = true;
      scheduled?.cancel();
      for (const entry of waiting.values()) entry.done();
      waiting.clear();
    },
  };
}

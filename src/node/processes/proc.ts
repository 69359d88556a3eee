/**
 * What Linux tells about processes under /proc, read synchronously (the kernel answers from memory).
 *
 * Boundary: facts only; who may be signalled is decided by process-members.ts.
 * Invariant: a process is named by pid AND start time; a zombie counts as dead (where nobody reaps, it stays for ever).
 */
import { readdirSync, readFileSync } from "node:fs";

/** Never reused together within one boot. */
export interface ProcessIdentity {
  readonly pid: number;
  /** Clock ticks after boot (field 22 of /proc/PID/stat). */
  readonly startTicks: number;
}

export interface ProcessStat extends ProcessIdentity {
  readonly state: string;
  readonly parentPid: number;
  readonly groupId: number;
  readonly sessionId: number;
}

/** Undefined when there is no such process, or no right to see it. Zombies are returned. */
export function readStat(pid: number): ProcessStat | undefined {
  const text = readOrUndefined(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The second field is the command in parentheses and may hold anything, so the fields are counted from the last parenthesis.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const field = (position: number) => Number(fields[position - 3]);
  return { pid, state: fields[0] ?? "", parentPid: field(4), groupId: field(5), sessionId: field(6), startTicks: field(22) };
}

const isDeadState = (state: string): boolean => state === "Z" || state === "X" || state === "x";

export function isAlive(identity: ProcessIdentity): boolean {
  const stat = readStat(identity.pid);
  return stat !== undefined && stat.startTicks === identity.startTicks && !isDeadState(stat.state);
}

/** All processes that live now. Those that end meanwhile are left out. */
export function livingProcesses(): ProcessStat[] {
  const found: ProcessStat[] = [];
  for (const name of readdirSync("/proc")) {
    const pid = Number(name);
    if (!Number.isInteger(pid)) continue;
    const stat = readStat(pid);
    if (stat !== undefined && !isDeadState(stat.state)) found.push(stat);
  }
  return found;
}

/** Whether the process was started with exactly this `NAME=value` in its environment. False without the right to read it. */
export function wasStartedWith(pid: number, assignment: string): boolean {
  const text = readOrUndefined(`/proc/${pid}/environ`);
  return text !== undefined && `\0${text}`.includes(`\0${assignment}\0`);
}

/** Resident memory in bytes; 0 when the process is gone. Pages shared with other processes count in each. */
export function residentBytes(pid: number): number {
  const match = /^VmRSS:\s*([0-9]+) kB$/m.exec(readOrUndefined(`/proc/${pid}/status`) ?? "");
  return match === null ? 0 : Number(match[1]) * 1024;
}

/** Differs after every reboot; process identities of another boot mean nothing. */
export function bootId(): string {
  return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();
}

/** Whole seconds since boot, the same for all processes of the machine; goes on while the machine is suspended. */
export function uptimeSeconds(): number {
  return Math.floor(Number.parseFloat(readFileSync("/proc/uptime", "utf8")));
}

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

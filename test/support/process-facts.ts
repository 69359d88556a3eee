/** What the kernel tells of a process: whether it lives, since when, its memory, where it listens. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** Of a process. */
export const residentBytes = (pid: number): number => Number(/VmRSS:\s*([0-9]+) kB/.exec(readProc(pid, "status"))?.[1] ?? 0) * 1024;

export interface Listening {
  /** As the kernel writes it, in hexadecimal digits of the machine's byte order: `0100007F` is 127.0.0.1. */
  readonly address: string;
  readonly port: number;
}

export const LOOPBACK = "0100007F";

/** TCP addresses on which a process listens; none when it is gone. */
export function listeningAt(pid: number): readonly Listening[] {
  const sockets = new Set<string>();
  for (const fd of openFilesOf(pid)) {
    try {
      const inode = /^socket:\[([0-9]+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1];
      if (inode !== undefined) sockets.add(inode);
    } catch {
      // Closed meanwhile.
    }
  }
  const rows = ["tcp", "tcp6"].flatMap((table) => readProc(pid, `net/${table}`).split("\n").slice(1));
  return rows.flatMap((row) => {
    const [, local = "", , state, , , , , , inode = ""] = row.trim().split(/\s+/);
    const [address = "", port = ""] = local.split(":");
    return state === "0A" && sockets.has(inode) ? [{ address, port: Number.parseInt(port, 16) }] : [];
  });
}

function openFilesOf(pid: number): readonly string[] {
  try {
    return readdirSync(`/proc/${pid}/fd`);
  } catch {
    return [];
  }
}

export const listeningPorts = (pid: number): readonly number[] => listeningAt(pid).map(({ port }) => port);

/** Empty when the process is gone. */
export function readProc(pid: string | number, file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "latin1").replaceAll("\0", " ");
  } catch {
    return "";
  }
}

/** Of a process in clock ticks since boot, with its state; undefined when it is gone. Zombies count as gone. */
function statOf(pid: number): { readonly state: string; readonly startTicks: string } | undefined {
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
      .replace(/^.*\) /s, "")
      .split(" ");
    if (fields[0] === "Z" || fields[0] === "X") return undefined;
    return { state: fields[0] ?? "", startTicks: fields[19] ?? "" };
  } catch {
    return undefined;
  }
}

export const startTicks = (pid: number): string => statOf(pid)?.startTicks ?? "gone";
export const isAlive = (pid: number): boolean => statOf(pid) !== undefined;

/**
 * What the parent of a master and the master say to each other over a pipe of their own: one line a word.
 *
 *   master -> parent   up {"hungAfterMs":500,"logFormat":"text"}   it runs, and proves its life from now on
 *                      alive                                      every BEAT_MS, by the main thread's event loop
 *                      over                                       it ends in order, or for an error that a restart does not heal
 *   parent -> master   stop SIGTERM | stop SIGINT                 end in order
 *
 * The end of the pipe is a message too: whoever was at its other end is dead.
 * Boundary: text and constants only. Loaded by the parent, so it imports nothing.
 */

/** How often a master proves its life. */
export const BEAT_MS = 100;
/** A master that has not proved its life for this long counts as hung. */
export const DEFAULT_HUNG_AFTER_MS = 500;
export const MIN_HUNG_AFTER_MS = 3 * BEAT_MS;
export const MAX_HUNG_AFTER_MS = 60_000;
/** Where the master finds the pipe; the parent sets it for its child only. */
export const SUPERVISOR_FD_VARIABLE = "HOLDFAST_SUPERVISOR_FD";
export const SUPERVISOR_FD = 3;
/** A line is a few words. */
const MAX_LINE_CHARS = 1_024;

export type StopName = "SIGINT" | "SIGTERM";

export interface SupervisedSettings {
  readonly hungAfterMs: number;
  readonly logFormat: "text" | "json";
}

export type FromMaster =
  | { readonly word: "up"; readonly settings: SupervisedSettings }
  | { readonly word: "alive" }
  | { readonly word: "over" };

/** Whether these words start a master that gets a parent. */
export function wantsSupervisor(words: readonly string[], env: Readonly<Record<string, string | undefined>>): boolean {
  if (words[0] !== "master" || env[SUPERVISOR_FD_VARIABLE] !== undefined) return false;
  return !words.some((word) => word === "--no-supervisor" || word === "--help" || word === "-h");
}

export const formatUp = (settings: SupervisedSettings): string => `up ${JSON.stringify(settings)}\n`;

/** Null: not a line of this conversation; it is ignored, since both ends are of one build. */
export function parseFromMaster(line: string): FromMaster | null {
  if (line === "alive") return { word: "alive" };
  if (line === "over") return { word: "over" };
  if (!line.startsWith("up ")) return null;
  try {
    return { word: "up", settings: JSON.parse(line.slice(3)) as SupervisedSettings };
  } catch {
    return null;
  }
}

export function parseStop(line: string): StopName | null {
  if (line === "stop SIGTERM") return "SIGTERM";
  return line === "stop SIGINT" ? "SIGINT" : null;
}

/** Cuts a stream of text into lines; the unfinished rest waits, bounded. */
export function createLines(onLine: (line: string) => void): (chunk: string) => void {
  let rest = "";
  return (chunk) => {
    const lines = (rest + chunk).split("\n");
    rest = (lines.pop() ?? "").slice(0, MAX_LINE_CHARS);
    for (const line of lines) onLine(line);
  };
}

/**
 * A master's end of the pipe to its parent (supervisor.ts): proves its life, hears that it shall end, and does not outlive the parent.
 *
 * Invariants:
 *   1. The proof comes from the main thread's event loop and from nowhere else.
 *   2. When the parent is dead this process is killed at once, as by kill -9: nobody would start it again or notice that it hangs, and whoever
 *      killed the command meant the master. Nothing acknowledged is lost by it, as by every kill -9.
 */
import { fstatSync } from "node:fs";
import { Socket } from "node:net";
import {
  BEAT_MS,
  createLines,
  formatUp,
  parseStop,
  type StopName,
  SUPERVISOR_FD_VARIABLE,
  type SupervisedSettings,
} from "./supervisor-line.js";

/** Proofs that a stopped parent has not read yet; more tell nothing new. */
const MAX_QUEUED_BYTES = 4_096;

export interface Supervised {
  /** It runs; from now on its silence counts. */
  up(settings: SupervisedSettings): void;
  /** What follows is an end that a restart does not heal. */
  over(): void;
  close(): void;
}

/** Null: this master has no parent (`--no-supervisor`, an embedded cluster). */
export function attachToSupervisor(onStop: (name: StopName) => void): Supervised | null {
  const text = process.env[SUPERVISOR_FD_VARIABLE];
  delete process.env[SUPERVISOR_FD_VARIABLE];
  const fd = Number(text);
  if (text === undefined || !isSocket(fd)) return null;
  let beats: NodeJS.Timeout | undefined;
  let closed = false;
  const line = new Socket({ fd, readable: true, writable: true });
  // It keeps no program alive that has nothing else to do.
  line.unref();
  const parentIsDead = () => {
    if (!closed) process.kill(process.pid, "SIGKILL");
  };
  line.on("error", parentIsDead);
  line.on("close", parentIsDead);
  line.on("end", parentIsDead);
  line.setEncoding("utf8").on(
    "data",
    createLines((said) => {
      const name = parseStop(said);
      if (name !== null) onStop(name);
    }),
  );
  const tell = (words: string) => {
    if (!closed && line.writableLength < MAX_QUEUED_BYTES) line.write(words);
  };
  return {
    up: (settings) => {
      tell(formatUp(settings));
      beats ??= setInterval(() => tell("alive\n"), BEAT_MS);
      beats.unref();
    },
    over: () => tell("over\n"),
    close: () => {
      closed = true;
      clearInterval(beats);
      line.destroy();
    },
  };
}

function isSocket(fd: number): boolean {
  try {
    return Number.isInteger(fd) && fstatSync(fd).isSocket();
  } catch {
    return false;
  }
}

/**
 * What ran where: each test program appends a line `PROCESS PID SECONDS` to a file of its own five times a second, and these lines tell
 * afterwards which attempts lived when. All virtual machines share one clock, so the lines of two attempts may be compared.
 */
import { existsSync, readFileSync } from "node:fs";

export interface Tick {
  /** As in HOLDFAST_PROCESS: application, attempt and what it is. */
  readonly process: string;
  readonly pid: number;
  readonly atMs: number;
}

/** The life of one process as its lines tell it. */
export interface Life {
  readonly process: string;
  readonly pid: number;
  readonly fromMs: number;
  readonly toMs: number;
  readonly ticks: number;
}

const EVERY_SECONDS = 0.2;

/** Starts no process of its own but the shell; `after`: what it does when it has ticked so often, e.g. `exit 3`. */
export function tickingProgram(
  file: string,
  after: { readonly ticks: number; readonly do: string } | null = null,
): readonly string[] {
  const end = after === null ? "" : `n=$((n+1)); [ "$n" -ge ${after.ticks} ] && { ${after.do}; };`;
  // A pipe that nobody writes to is what a shell can wait for without a child.
  const script = `exec 9<> <(:); n=0; while :; do echo "$HOLDFAST_PROCESS $$ $EPOCHREALTIME" >>'${file}'; ${end} read -t ${EVERY_SECONDS} -u 9; done`;
  return ["bash", "-c", script];
}

export function readTicks(file: string): readonly Tick[] {
  if (!existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .flatMap((line) => {
      const [process, pid, seconds] = line.split(" ");
      const complete = process !== undefined && pid !== undefined && /^[0-9]+[.,][0-9]+$/.test(seconds ?? "");
      return complete ? [{ process, pid: Number(pid), atMs: Number((seconds ?? "").replace(",", ".")) * 1_000 }] : [];
    });
}

export function livesOf(ticks: readonly Tick[]): readonly Life[] {
  const lives = new Map<string, Life>();
  for (const { process, pid, atMs } of ticks) {
    const key = `${process} ${pid}`;
    const life = lives.get(key) ?? { process, pid, fromMs: atMs, toMs: atMs, ticks: 0 };
    lives.set(key, { ...life, fromMs: Math.min(life.fromMs, atMs), toMs: Math.max(life.toMs, atMs), ticks: life.ticks + 1 });
  }
  return [...lives.values()].sort((a, b) => a.fromMs - b.fromMs);
}

/** Pairs of lives that overlap in time: one attempt had begun before another ended. */
export function overlaps(lives: readonly Life[]): readonly string[] {
  return lives.flatMap((life, index) =>
    lives
      .slice(index + 1)
      .filter((other) => other.fromMs <= life.toMs)
      .map(
        (other) =>
          `${other.process} (pid ${other.pid}) began ${Math.round(life.toMs - other.fromMs)} ms before ${life.process} (pid ${life.pid}) ended`,
      ),
  );
}

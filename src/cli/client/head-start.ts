/**
 * What `run` and `submit` of a job need in any case and what takes long to start, begun before the command's own code is even loaded: the
 * planner's process and esbuild's. On two cores this is 80 ms less until the first record.
 *
 * Boundary: main.ts begins it for those two commands and ends it; a command takes from it what it uses, and closes that itself.
 */
import { openPlanner, type Planner } from "../../node/planning/plan-in-child.js";

export interface HeadStart {
  /** Once; afterwards the planner is the caller's. */
  takePlanner(): Planner;
  close(): void;
}

const COMMANDS = new Set(["run", "submit"]);

/** Null: these words name another command, a program, or only ask for help. */
export function headStartFor(words: readonly string[]): HeadStart | null {
  const [command] = words;
  if (command === undefined || !COMMANDS.has(command) || words.length < 2) return null;
  if (words.some((word) => word === "--" || word === "--help" || word === "-h")) return null;
  let planner: Planner | null = openPlanner();
  // Loading it and its first call start its process; a package that is not there is told when the job is bundled.
  void import("esbuild").then((esbuild) => esbuild.transform("")).catch(() => {});
  return {
    takePlanner: () => {
      const taken = planner ?? openPlanner();
      planner = null;
      return taken;
    },
    close: () => {
      planner?.close();
      planner = null;
    },
  };
}

/** One measurement of checkpoint-load.ts in a process of its own: what earlier ones left on the heap is in none of its figures. */
import { fork } from "node:child_process";
import {
  type LoadOptions,
  type LoadResult,
  type RestoreOptions,
  type RestoreResult,
  restoreLoad,
  runLoad,
} from "./checkpoint-load.js";

/** First word of the command line that makes this program such a process. */
export const CHECKPOINT_PROCESS = "checkpoint-process";

type Task =
  | { readonly kind: "run"; readonly options: LoadOptions }
  | { readonly kind: "restore"; readonly options: RestoreOptions };

export interface ProcessOptions {
  readonly heapMb: number;
  readonly signal: AbortSignal;
}

/** The other end of `loadInProcess` and `restoreInProcess`. */
export async function runCheckpointProcess(): Promise<void> {
  // Without its parent nobody wants the figures.
  process.once("disconnect", () => process.exit());
  const task = await new Promise<Task>((resolve) => process.once("message", resolve));
  const result = task.kind === "run" ? await runLoad(task.options) : await restoreLoad(task.options);
  process.send?.(result, () => process.disconnect());
}

export const loadInProcess = (options: LoadOptions, how: ProcessOptions): Promise<LoadResult> =>
  inProcess({ kind: "run", options }, how) as Promise<LoadResult>;

export const restoreInProcess = (options: RestoreOptions, how: ProcessOptions): Promise<RestoreResult> =>
  inProcess({ kind: "restore", options }, how) as Promise<RestoreResult>;

function inProcess(task: Task, { heapMb, signal }: ProcessOptions): Promise<unknown> {
  return new Promise((resolve, reject) => {
    const child = fork(process.argv[1] ?? "", [CHECKPOINT_PROCESS], {
      execArgv: ["--expose-gc", "--no-warnings", `--max-old-space-size=${heapMb}`],
      serialization: "advanced",
      stdio: ["ignore", "inherit", "inherit", "ipc"],
      signal,
    });
    child.once("message", resolve);
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`the measuring process ended with ${code}`)));
    child.send(task);
  });
}

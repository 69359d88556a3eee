/** Many seeds over the machine's cores: child processes that take a few seeds at a time. */
import { type ChildProcess, fork } from "node:child_process";
import os from "node:os";
import { fileURLToPath } from "node:url";
import type { RareState } from "../../sim/coverage.js";
import { type CrashOutcome, type CrashTask, carryOut, runUndisturbed, type Undisturbed } from "../../sim/crash/task.js";
import { crashOptions, prepareProcess, runOne, trapped } from "./sim-run.js";

export interface Task {
  readonly seed: number;
  readonly mutant: string | null;
}

/** A master that dies at some point (sim/crash/task.ts). */
export interface MutantCrashTask {
  readonly crash: CrashTask;
  readonly mutant: string | null;
}

/** A situation in which nobody dies. */
export interface UndisturbedTask {
  readonly undisturbed: string;
  readonly mutant: string | null;
}

export interface Outcome extends Task {
  readonly violation: string | null;
  readonly traceHash: string;
  readonly events: number;
  readonly virtualMs: number;
  /** Of one core: other programs on the machine make it no longer. */
  readonly realMs: number;
  readonly coverage: readonly (readonly [RareState, number])[];
}

/** Small enough to end evenly, large enough not to talk all the time. */
const TASKS_AT_ONCE = 4;

/** Calls `done` for each outcome, in any order. `next` gives the tasks; undefined: there are none any more. */
export async function runBatch(next: () => Task | undefined, done: (outcome: Outcome) => void): Promise<void>;
export async function runBatch(next: () => MutantCrashTask | undefined, done: (outcome: CrashOutcome) => void): Promise<void>;
export async function runBatch(next: () => UndisturbedTask | undefined, done: (outcome: Undisturbed) => void): Promise<void>;
export async function runBatch(next: () => object | undefined, done: (outcome: never) => void): Promise<void> {
  const processes = os.availableParallelism();
  await Promise.all(Array.from({ length: processes }, () => runChild(next, done)));
}

function runChild(next: () => object | undefined, done: (outcome: never) => void): Promise<void> {
  return new Promise((resolve, reject) => {
    const child: ChildProcess = fork(fileURLToPath(import.meta.url), ["--child"], { execArgv: [] });
    let open = 0;
    const give = () => {
      const task = next();
      if (task === undefined) {
        if (open === 0 && child.connected) child.disconnect();
        return;
      }
      open += 1;
      child.send(task);
    };
    child.on("message", (outcome) => {
      open -= 1;
      done(outcome as never);
      give();
    });
    child.on("exit", (code) => (open === 0 ? resolve() : reject(new Error(`a simulating process ended with exit code ${code}`))));
    for (let count = 0; count < TASKS_AT_ONCE; count += 1) give();
  });
}

/** In the child: one task after the other, until the parent has no more. */
export function runAsChild(): void {
  prepareProcess();
  // Nobody reads the stacks of the many errors that are part of a run; a replay has them.
  Error.stackTraceLimit = 0;
  let running: Promise<void> = Promise.resolve();
  process.on("message", (task: Task | MutantCrashTask | UndisturbedTask) => {
    running = running.then(async () => {
      const outcome = await carryOutTask(task);
      if (process.connected) process.send?.(outcome);
    });
  });
  process.on("disconnect", () => process.exit(0));
}

function carryOutTask(task: Task | MutantCrashTask | UndisturbedTask): Promise<Outcome | CrashOutcome | Undisturbed> {
  if ("crash" in task) return trapped(() => carryOut(task.crash, crashOptions(task.mutant)));
  if ("undisturbed" in task) return trapped(() => runUndisturbed(task.undisturbed, crashOptions(task.mutant)));
  return outcomeOf(task);
}

export async function outcomeOf({ seed, mutant }: Task): Promise<Outcome> {
  const startedAt = process.cpuUsage();
  const { violation, traceHash, events, virtualMs, coverage } = await runOne(seed, mutant);
  const { user, system } = process.cpuUsage(startedAt);
  const realMs = (user + system) / 1000;
  return { seed, mutant, violation: violation?.message ?? null, traceHash, events, virtualMs, realMs, coverage: [...coverage] };
}

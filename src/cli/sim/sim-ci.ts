/** What CI runs: fixed seeds, seeds of bugs that were found, planted bugs, crash points; every rare state has to be reached. */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { CI_STATES, STATES } from "../../sim/coverage.js";
import { MUTANT_SEEDS } from "../../sim/mutants/all.js";
import { runCrashPoints, tellProblem } from "./sim-crash-points.js";
import { searchMutants } from "./sim-mutants.js";
import { rareText, runSeeds } from "./sim-seeds.js";

const CI_SEEDS = 250;
/** Of the points at which a master can die, every so manieth. */
const CI_CRASH_POINTS_EVERY = 400;
const REGRESSIONS = fileURLToPath(new URL("../../test/sim/regressions.txt", import.meta.url));

/** `seed  # what it found`, a line each. */
function regressionSeeds(): readonly number[] {
  if (!existsSync(REGRESSIONS)) return [];
  return readFileSync(REGRESSIONS, "utf8")
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line !== "")
    .map(Number);
}

export async function ci(json: boolean): Promise<number> {
  const startedAt = performance.now();
  const seeds = [...new Set([...regressionSeeds(), ...Array.from({ length: CI_SEEDS }, (_, index) => index + 1)])];
  const summary = await runSeeds(seeds, null, json);
  const missing = CI_STATES.filter((state) => !summary.rare.has(state));
  const mutants = await searchMutants(undefined);
  const survivors = mutants.filter(({ found }) => found === null).map(({ mutant }) => mutant);
  const crashes = await runCrashPoints({ situations: "", every: CI_CRASH_POINTS_EVERY, seconds: 0, mutant: null });
  const isWell = crashes.problems.length === 0 && summary.failures.length === 0 && missing.length === 0 && survivors.length === 0;
  if (json) {
    const found = mutants.map(({ mutant, found: outcome }) => ({ mutant, seed: outcome?.seed ?? null }));
    process.stdout.write(
      `${JSON.stringify({ ...summary.json(), missing, mutants: found, crashPoints: crashes.runs, crashProblems: crashes.problems, ok: isWell })}\n`,
    );
    return isWell ? 0 : 1;
  }
  process.stdout.write(`${rareText(summary.rare)}\n${summary.text()}\n`);
  for (const problem of crashes.problems) tellProblem(problem);
  for (const state of missing) process.stdout.write(`NEVER REACHED: ${state}\n`);
  for (const mutant of survivors) process.stdout.write(`PLANTED BUG NOT FOUND within ${MUTANT_SEEDS} seeds: ${mutant}\n`);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  process.stdout.write(
    `${STATES.length - missing.length} of ${STATES.length} rare states reached, ${mutants.length - survivors.length} of ${mutants.length} planted bugs found, ${crashes.runs} crash points came to the same, ${seconds} s\n`,
  );
  return isWell ? 0 : 1;
}

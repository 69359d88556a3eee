/**
 * `node dist/bin/sim.mjs`: the deterministic simulator (docs/design/simulator.md).
 *
 *   --seed N            one seed, told line by line, run twice: the same trace, or an error
 *   --seed N --shrink   the short schedule of a seed that fails
 *   --schedule FILE     such a schedule, told as a seed
 *   --seeds N           N seeds from --from (default 1) over all cores
 *   --ci                the fixed seeds of CI, the seeds of bugs that were found, the planted bugs; every rare state has to be reached
 *   --mutants [NAME]    each planted bug (or one) has to be found; --remember: from seed 1 on, and CI tries what was found first
 *   --crash-points      a master dies at every point of election and recovery, and it comes to the same; of situations that begin with NAME,
 *                       every --every-th point, and --seconds deaths of the recovery that follows
 *   --crash PLACE       one of these, told line by line
 *
 * Exit codes: 0 all well, 1 an invariant is broken (or a planted bug not found), 2 wrong usage.
 */
import { parseArgs } from "node:util";
import { runAsChild } from "./sim-batch.js";
import { ci } from "./sim-ci.js";
import { crashPoints, replayCrash } from "./sim-crash-points.js";
import { findMutants } from "./sim-mutants.js";
import { replay, replaySchedule, shrinkSeed } from "./sim-replay.js";
import { longRun } from "./sim-seeds.js";

const USAGE = `usage: node dist/bin/sim.mjs --seed N [--shrink] | --schedule FILE | --seeds N [--from M] | --ci | --mutants [NAME] [--remember]
       | --crash-points [NAME] [--every N] [--seconds N] | --crash PLACE     [--json] [--quiet] [--mutant NAME]`;

async function main(): Promise<number> {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      seed: { type: "string" },
      seeds: { type: "string" },
      from: { type: "string", default: "1" },
      ci: { type: "boolean", default: false },
      mutants: { type: "boolean", default: false },
      mutant: { type: "string" },
      remember: { type: "boolean", default: false },
      shrink: { type: "boolean", default: false },
      schedule: { type: "string" },
      "crash-points": { type: "boolean", default: false },
      crash: { type: "string" },
      every: { type: "string", default: "1" },
      seconds: { type: "string", default: "0" },
      json: { type: "boolean", default: false },
      quiet: { type: "boolean", default: false },
      child: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  const { json, quiet } = values;
  if (values.child) {
    runAsChild();
    return new Promise(() => {});
  }
  const mutant = values.mutant ?? null;
  if (values.seed !== undefined && values.shrink) return shrinkSeed(number(values.seed), mutant);
  if (values.seed !== undefined) return replay(number(values.seed), { json, quiet, mutant });
  if (values.schedule !== undefined) return replaySchedule(values.schedule, { json, quiet, mutant });
  if (values.crash !== undefined) return replayCrash(values.crash, mutant);
  if (values["crash-points"]) {
    const [every, seconds] = [Math.max(1, number(values.every)), number(values.seconds)];
    return crashPoints({ situations: positionals[0] ?? "", every, seconds, mutant }, json);
  }
  if (values.seeds !== undefined) return longRun(number(values.from), number(values.seeds), mutant, json);
  if (values.mutants) return findMutants(positionals[0], json, values.remember);
  if (values.ci) return ci(json);
  process.stdout.write(`${USAGE}\n`);
  return values.help ? 0 : 2;
}

function number(text: string): number {
  const value = Number(text);
  if (Number.isInteger(value) && value >= 0) return value;
  throw new Error(`${text} is not a number\n${USAGE}`);
}

main().then(
  (exitCode) => process.exit(exitCode),
  (thrown: unknown) => {
    process.stderr.write(`${thrown instanceof Error ? thrown.message : String(thrown)}\n`);
    process.exit(2);
  },
);

/** `node dist/bin/sim.mjs`: the deterministic simulator. */
import { setMaxListeners } from "node:events";
import { MUTANT_SEEDS, MUTANTS } from "../sim/mutants/all.js";
import type { Observer } from "../sim/observe.js";
import { runSeed } from "../sim/scenario.js";

setMaxListeners(0);
const drain = () => new Promise<void>((resolve) => setImmediate(resolve));
const args = process.argv.slice(2);
const option = (name: string, fallback: number) => (args.includes(name) ? Number(args[args.indexOf(name) + 1]) : fallback);
const first = option("--seed", option("--from", 1));
const count = option("--seeds", 1);
const verbose: Observer = {
  logged: ({ at, process, level, message }) =>
    console.log(`${at.toFixed(1).padStart(10)} ${process.id.padEnd(16)} ${level} ${message}`),
  fault: (what, subject) => console.log(`---------- FAULT ${what} ${subject}`),
};
if (args.includes("--mutants")) {
  const only = args[args.indexOf("--mutants") + 1];
  for (const mutant of MUTANTS) {
    if (only !== undefined && mutant.name !== only) continue;
    let found = "NOT FOUND";
    const startedAt = performance.now();
    for (let seed = 1; seed <= MUTANT_SEEDS; seed += 1) {
      const { violation } = await runSeed(seed, { drain, mutant });
      if (violation === null) continue;
      found = `seed ${seed}: ${violation.message.slice(0, 200)}`;
      break;
    }
    console.log(mutant.name, `${(performance.now() - startedAt).toFixed(0)} ms`, found);
  }
  process.exit(0);
}
let virtual = 0;
let real = 0;
for (let seed = first; seed < first + count; seed += 1) {
  const startedAt = performance.now();
  const result = await runSeed(seed, { drain, observers: () => (args.includes("-v") ? [verbose] : []) });
  const ms = performance.now() - startedAt;
  virtual += result.virtualMs;
  real += ms;
  if (args.includes("-v")) console.log(result.options);
  console.log(
    seed,
    result.traceHash,
    result.options.mode,
    `${ms.toFixed(0)} ms, ${(result.virtualMs / ms).toFixed(0)} x real time, ${result.events} events, ${(result.events / ms).toFixed(0)} events/ms`,
    result.violation?.message ?? "ok",
  );
}
console.log(`${(virtual / real).toFixed(0)} x real time`);
process.exit(0);

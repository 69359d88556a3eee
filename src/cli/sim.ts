/** `node dist/bin/sim.mjs`: the deterministic simulator. */

import type { Observer } from "../sim/observe.js";
import { runSeed } from "../sim/scenario.js";

const drain = () => new Promise<void>((resolve) => setImmediate(resolve));
const args = process.argv.slice(2);
const seed = Number(args[args.indexOf("--seed") + 1] ?? 1);
const verbose: Observer = {
  logged: ({ at, process, level, message }) =>
    console.log(`${at.toFixed(1).padStart(10)} ${process.id.padEnd(16)} ${level} ${message}`),
};
const startedAt = performance.now();
const result = await runSeed(seed, { drain, observers: () => (args.includes("-v") ? [verbose] : []) });
const ms = performance.now() - startedAt;
console.log(
  result,
  `${ms.toFixed(0)} ms, ${(result.virtualMs / ms).toFixed(0)} x real time, ${(result.events / ms).toFixed(0)} events/ms`,
);
process.exit(result.violation === null ? 0 : 1);

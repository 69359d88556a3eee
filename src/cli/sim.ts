/**
 * `node dist/bin/sim.mjs`: the deterministic simulator (docs/design/simulator.md).
 *
 *   --seed N            one seed, told line by line, run twice: the same trace, or an error
 *   --seeds N           N seeds from --from (default 1) over all cores
 *   --ci                the fixed seeds of CI, the seeds of bugs that were found, the planted bugs; every rare state has to be reached
 *   --mutants [NAME]    each planted bug (or one) has to be found
 *
 * Exit codes: 0 all well, 1 an invariant is broken (or a planted bug not found), 2 wrong usage.
 */
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { CI_STATES, type RareState, STATES } from "../sim/coverage.js";
import { MUTANT_SEEDS, MUTANTS } from "../sim/mutants/all.js";
import { narrator, optionsText, resultText, scheduleText } from "../sim/report.js";
import { type Outcome, runAsChild, runBatch, type Task } from "./sim-batch.js";
import { prepareProcess, runOne } from "./sim-run.js";

const CI_SEEDS = 500;
const MAX_FAILURES_TOLD = 10;
const PROGRESS_EVERY_MS = 5_000;
const REGRESSIONS = fileURLToPath(new URL("../../test/sim/regressions.txt", import.meta.url));

const USAGE = `usage: node dist/bin/sim.mjs --seed N | --seeds N [--from M] | --ci | --mutants [NAME]     [--json] [--quiet] [--mutant NAME]`;

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
  if (values.seed !== undefined) return replay(number(values.seed), { json, quiet, mutant: values.mutant ?? null });
  if (values.seeds !== undefined) return longRun(number(values.from), number(values.seeds), values.mutant ?? null, json);
  if (values.mutants) return findMutants(positionals[0], json);
  if (values.ci) return ci(json);
  process.stdout.write(`${USAGE}\n`);
  return values.help ? 0 : 2;
}

// ------------------------------------------------------------------------------------------------------------- one seed

interface ReplayOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly mutant: string | null;
}

async function replay(seed: number, { json, quiet, mutant }: ReplayOptions): Promise<number> {
  prepareProcess();
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const first = await runOne(seed, mutant, {
    observers: ({ cluster }) => (json || quiet ? [] : [narrator(say, () => cluster.world.now())]),
  });
  const again = await runOne(seed, mutant);
  const isSame = again.traceHash === first.traceHash && again.events === first.events;
  if (json) {
    const { options, violation, traceHash, events, virtualMs, faults, coverage } = first;
    const rare = Object.fromEntries(coverage);
    say(
      JSON.stringify({
        seed,
        violation: violation?.message ?? null,
        deterministic: isSame,
        traceHash,
        events,
        virtualMs,
        options,
        faults,
        rare,
      }),
    );
  } else {
    say(`\n${optionsText(first)}\n\n${scheduleText(first)}\n\n${resultText(first)}`);
    say(
      isSame ? "         run twice: the same trace" : `         NOT DETERMINISTIC: the second run has the trace ${again.traceHash}`,
    );
  }
  return first.violation === null && isSame ? 0 : 1;
}

// ------------------------------------------------------------------------------------------------------------ many seeds

class Summary {
  readonly failures: Outcome[] = [];
  seeds = 0;
  events = 0;
  virtualMs = 0;
  realMs = 0;
  readonly rare = new Map<RareState, number>();

  take(outcome: Outcome): void {
    this.seeds += 1;
    this.events += outcome.events;
    this.virtualMs += outcome.virtualMs;
    this.realMs += outcome.realMs;
    for (const [state, count] of outcome.coverage) this.rare.set(state, (this.rare.get(state) ?? 0) + count);
    if (outcome.violation !== null) this.failures.push(outcome);
  }

  text(): string {
    const ratio = Math.round(this.virtualMs / Math.max(1, this.realMs));
    const hours = (this.virtualMs / 3_600_000).toFixed(1);
    return `${this.seeds} seeds, ${this.failures.length} failed, ${this.events} events, ${hours} h of virtual time, ${ratio} x real time per core (aim: 5000)`;
  }

  json() {
    const { seeds, events, virtualMs, realMs } = this;
    const failures = this.failures.map(({ seed, violation }) => ({ seed, violation }));
    const rare = Object.fromEntries(STATES.map((state) => [state, this.rare.get(state) ?? 0]));
    return { seeds, events, virtualMs, realMs, ratioPerCore: virtualMs / Math.max(1, realMs), failures, rare };
  }
}

async function runSeeds(seeds: readonly number[], mutant: string | null, json: boolean): Promise<Summary> {
  const summary = new Summary();
  const waiting = [...seeds];
  let toldAt = performance.now();
  const next = (): Task | undefined => {
    const seed = waiting.shift();
    return seed === undefined ? undefined : { seed, mutant };
  };
  await runBatch(next, (outcome) => {
    summary.take(outcome);
    if (outcome.violation !== null && !json && summary.failures.length <= MAX_FAILURES_TOLD) tellFailure(outcome);
    if (json || performance.now() - toldAt < PROGRESS_EVERY_MS) return;
    toldAt = performance.now();
    process.stderr.write(`${summary.text()}\n`);
  });
  return summary;
}

function tellFailure({ seed, mutant, violation }: Outcome): void {
  const replayWith = `node dist/bin/sim.mjs --seed ${seed}${mutant === null ? "" : ` --mutant ${mutant}`}`;
  process.stdout.write(`seed ${seed} FAILED: ${violation}\n  replay: ${replayWith}\n`);
}

async function longRun(from: number, count: number, mutant: string | null, json: boolean): Promise<number> {
  const summary = await runSeeds(
    Array.from({ length: count }, (_, index) => from + index),
    mutant,
    json,
  );
  if (json) process.stdout.write(`${JSON.stringify(summary.json())}\n`);
  else process.stdout.write(`${rareText(summary.rare)}\n${summary.text()}\n`);
  return summary.failures.length === 0 ? 0 : 1;
}

function rareText(rare: ReadonlyMap<RareState, number>): string {
  return STATES.map((state) => `${String(rare.get(state) ?? 0).padStart(8)}  ${state}`).join("\n");
}

// -------------------------------------------------------------------------------------------------------------- planted bugs

interface Search {
  readonly mutant: string;
  readonly mistake: string;
  nextSeed: number;
  tried: number;
  found: Outcome | null;
}

/** Seeds from 1 upwards for each, until it is found. */
async function searchMutants(only: string | undefined): Promise<readonly Search[]> {
  const searches: Search[] = MUTANTS.filter(({ name }) => only === undefined || name === only).map(({ name, mistake }) => ({
    mutant: name,
    mistake,
    nextSeed: 1,
    tried: 0,
    found: null,
  }));
  const next = (): Task | undefined => {
    const search = searches.find(({ found, nextSeed }) => found === null && nextSeed <= MUTANT_SEEDS);
    if (search === undefined) return undefined;
    const seed = search.nextSeed;
    search.nextSeed += 1;
    return { seed, mutant: search.mutant };
  };
  await runBatch(next, (outcome) => {
    const search = searches.find(({ mutant }) => mutant === outcome.mutant);
    if (search === undefined) return;
    search.tried += 1;
    if (outcome.violation !== null && (search.found === null || outcome.seed < search.found.seed)) search.found = outcome;
  });
  return searches;
}

async function findMutants(only: string | undefined, json: boolean): Promise<number> {
  const searches = await searchMutants(only);
  if (searches.length === 0)
    throw new Error(`there is no planted bug ${only}; there are ${MUTANTS.map(({ name }) => name).join(", ")}`);
  if (json) {
    const found = searches.map((search) => ({
      mutant: search.mutant,
      seed: search.found?.seed ?? null,
      violation: search.found?.violation ?? null,
    }));
    process.stdout.write(`${JSON.stringify({ mutants: found })}\n`);
  } else {
    for (const { mutant, mistake, found } of searches) {
      const how =
        found === null ? `NOT FOUND within ${MUTANT_SEEDS} seeds` : `seed ${found.seed}: ${found.violation?.split("\n")[0]}`;
      process.stdout.write(`${mutant}: ${mistake}\n    ${how}\n`);
    }
  }
  return searches.every(({ found }) => found !== null) ? 0 : 1;
}

// ------------------------------------------------------------------------------------------------------------------------ CI

/** `seed  # what it found`, a line each. */
function regressionSeeds(): readonly number[] {
  if (!existsSync(REGRESSIONS)) return [];
  return readFileSync(REGRESSIONS, "utf8")
    .split("\n")
    .map((line) => line.replace(/#.*/, "").trim())
    .filter((line) => line !== "")
    .map(number);
}

async function ci(json: boolean): Promise<number> {
  const startedAt = performance.now();
  const seeds = [...new Set([...regressionSeeds(), ...Array.from({ length: CI_SEEDS }, (_, index) => index + 1)])];
  const summary = await runSeeds(seeds, null, json);
  const missing = CI_STATES.filter((state) => !summary.rare.has(state));
  const mutants = await searchMutants(undefined);
  const survivors = mutants.filter(({ found }) => found === null).map(({ mutant }) => mutant);
  const isWell = summary.failures.length === 0 && missing.length === 0 && survivors.length === 0;
  if (json) {
    const found = mutants.map(({ mutant, found: outcome }) => ({ mutant, seed: outcome?.seed ?? null }));
    process.stdout.write(`${JSON.stringify({ ...summary.json(), missing, mutants: found, ok: isWell })}\n`);
    return isWell ? 0 : 1;
  }
  process.stdout.write(`${summary.text()}\n`);
  for (const state of missing) process.stdout.write(`NEVER REACHED: ${state}\n`);
  for (const mutant of survivors) process.stdout.write(`PLANTED BUG NOT FOUND within ${MUTANT_SEEDS} seeds: ${mutant}\n`);
  const seconds = ((performance.now() - startedAt) / 1000).toFixed(0);
  process.stdout.write(
    `${STATES.length - missing.length} of ${STATES.length} rare states reached, ${mutants.length - survivors.length} of ${mutants.length} planted bugs found, ${seconds} s\n`,
  );
  return isWell ? 0 : 1;
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

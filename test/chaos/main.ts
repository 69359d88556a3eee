/**
 * `npm run chaos -- --minutes N --seed S [--rounds R]`: faults at random around a mixed workload on a cluster of virtual machines, every fault
 * drawn from the seed. Everything is checked after each round; the first violation ends the run, and its evidence stays. `--faults` and
 * `--hold-ms` play the same faults in every round instead, to look into what was found. `--oracle` and `--clean` play something else: oracle/main.ts, clean/main.ts.
 *
 * Exit codes: 0 nothing found, 1 a violation (or the cluster did not start, or not come to rest), 2 wrong usage, 3 this machine has no namespaces.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { machinesMissing, startMachines, WORKER_DEADLINE_MS } from "../support/partition/machines.js";
import { type Chance, chanceFrom } from "./chance.js";
import { clean } from "./clean/main.js";
import { FAULTS } from "./faults/all.js";
import type { Fault } from "./faults/fault.js";
import { oracle } from "./oracle/main.js";
import { type Arena, playRound, type RoundOptions } from "./round.js";
import { Workload } from "./workload.js";

interface Options {
  /** Of each round, in place of faults that are drawn; empty: drawn. */
  readonly faults: readonly Fault[];
  readonly holdMs: number | null;
  readonly minutes: number;
  readonly seed: number;
  readonly rounds: number;
}

const USAGE = `usage: npm run chaos -- [--minutes N] [--seed S] [--rounds R] [--faults a,b] [--hold-ms H]
default: 5 minutes, a seed of its own; faults: ${FAULTS.map(({ name }) => name).join(", ")}`;
const MAX_FAULTS = 3;
/** One longer than the deadline of a worker. */
const HOLD_MS = [300, 600, 600, 1_000, 1_000, 1_500, 1_500, 2_500, 2_500, 4_000, 4_000, WORKER_DEADLINE_MS + 1_000] as const;
const JOB_EVERY_ROUNDS = 4;

const NUMBERS = ["--minutes", "--seed", "--rounds", "--hold-ms"];

function parse(words: readonly string[]): Options {
  const numbers = new Map<string, number>();
  let faults: readonly Fault[] = [];
  for (let at = 0; at < words.length; at += 2) {
    const [name = "", value = ""] = [words[at], words[at + 1]];
    if (name === "--faults") faults = value.split(",").map(named);
    else if (NUMBERS.includes(name) && Number(value) > 0) numbers.set(name, Number(value));
    else wrongUsage();
  }
  return {
    faults,
    holdMs: numbers.get("--hold-ms") ?? null,
    minutes: numbers.get("--minutes") ?? 5,
    seed: numbers.get("--seed") ?? 1 + (Date.now() % 1_000_000),
    rounds: numbers.get("--rounds") ?? Number.POSITIVE_INFINITY,
  };
}

const named = (name: string): Fault => FAULTS.find((fault) => fault.name === name) ?? wrongUsage();

function wrongUsage(): never {
  console.error(USAGE);
  process.exit(2);
}

/** The faults of a round come from the seed and the round's number alone. */
function draw(chance: Chance, round: number, options: Options): RoundOptions {
  const count = 1 + chance.below(MAX_FAULTS);
  // Each at most once: two of the same kind would take back the same thing twice.
  const drawn = new Set(Array.from({ length: count }, () => chance.pick(FAULTS)));
  const chosen = options.faults.length > 0 ? options.faults : [...drawn];
  const faults = chosen.map((fault, at) => ({ fault, afterMs: at === 0 ? 0 : chance.below(1_200) }));
  return { faults, holdMs: options.holdMs ?? chance.pick(HOLD_MS), withJob: round % JOB_EVERY_ROUNDS === 1 };
}

async function main(): Promise<number> {
  const options = parse(process.argv.slice(2));
  const missing = machinesMissing();
  if (missing !== null) {
    console.error(`chaos cannot run here: ${missing}`);
    return 3;
  }
  const told: string[] = [];
  const say = (text: string) => {
    const line = `${new Date().toISOString().slice(11, 23)} ${text}`;
    told.push(line);
    console.log(line);
  };
  say(`seed ${options.seed}`);
  const machines = await startMachines().catch((thrown) => {
    console.error(`the cluster did not start: ${thrown instanceof Error ? thrown.message : thrown}`);
    return null;
  });
  if (machines === null) return 1;
  const interrupted = new Promise<never>((_, reject) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => reject(new Error(`ended by ${signal}`)));
  });
  const workload = new Workload(machines);
  const violations = await Promise.race([run(workload, machines, options, say), interrupted]).catch((thrown) => [
    thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown),
  ]);
  workload.end();
  for (const violation of violations) say(`VIOLATION ${violation}`);
  const evidence = violations.length === 0 ? null : path.join(os.tmpdir(), `holdfast-chaos-${options.seed}-${process.pid}`);
  const left = await machines.close(evidence);
  if (left.length > 0) say(`processes that outlived the cluster: ${left.join("; ")}`);
  if (evidence !== null) {
    mkdirSync(evidence, { recursive: true });
    writeFileSync(path.join(evidence, "told.txt"), `${told.join("\n")}\n`);
    console.log(`evidence: ${evidence} (again: npm run chaos -- --seed ${options.seed})`);
  }
  return violations.length + left.length === 0 ? 0 : 1;
}

async function run(
  workload: Workload,
  machines: Awaited<ReturnType<typeof startMachines>>,
  options: Options,
  say: (text: string) => void,
): Promise<readonly string[]> {
  const { minutes, seed, rounds } = options;
  await machines.quiet(60_000);
  await workload.begin();
  const arena: Arena = { machines, workload, ledger: { done: 0 }, say, chance: chanceFrom(seed) };
  const changes = leadershipTold(machines);
  const endAt = performance.now() + minutes * 60_000;
  let round = 1;
  for (; round <= rounds && performance.now() < endAt; round++) {
    const chance = chanceFrom(seed * 1_000 + round);
    const drawn = draw(chance, round, options);
    say(`round ${round}`);
    const { problems, newLeaderAfterMs } = await playRound({ ...arena, chance }, drawn);
    say(`round ${round}: ${newLeaderAfterMs === null ? "the same leader" : `a new leader after ${newLeaderAfterMs} ms`}`);
    for (const line of changes()) say(`  ${line}`);
    if (problems.length > 0) return problems;
  }
  say(`${round - 1} rounds, ${workload.acknowledged.length} acknowledged submissions, nothing found`);
  return [];
}

const CHANGE = /Deposed from|Resigned from|this master tries to take over|so that another can lead/;

/** What masters have logged of changes of their leadership since the last call: a change that no fault explains is to be looked into. */
function leadershipTold(machines: Awaited<ReturnType<typeof startMachines>>): () => readonly string[] {
  const seen = new Map<string, number>();
  return () =>
    machines
      .logs()
      .filter(({ name }) => name.startsWith("master-"))
      .flatMap(({ name, text }) => {
        const fresh = text.slice(seen.get(name) ?? 0);
        seen.set(name, text.length);
        return fresh
          .split("\n")
          .filter((line) => CHANGE.test(line))
          .map((line) => `${name} ${line.slice(0, 200)}`);
      });
}

const [first, ...words] = process.argv.slice(2);
process.exitCode = await (first === "--oracle" ? oracle(words) : first === "--clean" ? clean(words) : main());

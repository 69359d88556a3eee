/** Many seeds: what they add up to, and how to replay those that fail. */
import { type RareState, STATES } from "../../sim/coverage.js";
import { type Outcome, runBatch, type Task } from "./sim-batch.js";

const MAX_FAILURES_TOLD = 10;
const PROGRESS_EVERY_MS = 5_000;

export class Summary {
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

export async function runSeeds(seeds: readonly number[], mutant: string | null, json: boolean): Promise<Summary> {
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

export async function longRun(from: number, count: number, mutant: string | null, json: boolean): Promise<number> {
  const summary = await runSeeds(
    Array.from({ length: count }, (_, index) => from + index),
    mutant,
    json,
  );
  if (json) process.stdout.write(`${JSON.stringify(summary.json())}\n`);
  else process.stdout.write(`${rareText(summary.rare)}\n${summary.text()}\n`);
  return summary.failures.length === 0 ? 0 : 1;
}

export function rareText(rare: ReadonlyMap<RareState, number>): string {
  return STATES.map((state) => `${String(rare.get(state) ?? 0).padStart(8)}  ${state}`).join("\n");
}

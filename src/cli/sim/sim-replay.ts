/** One seed or one schedule, told line by line, run twice; and the short schedule of one that fails. */
import { readFileSync } from "node:fs";
import { narrator, optionsText, resultText, scheduleText } from "../../sim/report.js";
import type { RunResult } from "../../sim/scenario.js";
import { parseSchedule, type Schedule, scheduleLines } from "../../sim/schedule.js";
import { shrink } from "../../sim/shrink.js";
import { prepareProcess, runOne } from "./sim-run.js";

const MAX_SHRINKING_RUNS = 400;

interface ReplayOptions {
  readonly json: boolean;
  readonly quiet: boolean;
  readonly mutant: string | null;
}

export async function replay(seed: number, options: ReplayOptions): Promise<number> {
  return tellTwice(seed, options.mutant, undefined, options);
}

export async function replaySchedule(file: string, options: ReplayOptions): Promise<number> {
  const schedule = parseSchedule(readFileSync(file, "utf8"));
  return tellTwice(schedule.seed, schedule.mutant, schedule, options);
}

async function tellTwice(
  seed: number,
  mutant: string | null,
  schedule: Schedule | undefined,
  { json, quiet }: ReplayOptions,
): Promise<number> {
  prepareProcess();
  const say = (line: string) => process.stdout.write(`${line}\n`);
  const planned = schedule === undefined ? {} : { schedule };
  const first = await runOne(seed, mutant, {
    ...planned,
    observers: ({ cluster }) => (json || quiet ? [] : [narrator(say, () => cluster.world.now())]),
  });
  const again = await runOne(seed, mutant, planned);
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

/** Exit code 0: the seed fails, and this is what it takes. */
export async function shrinkSeed(seed: number, mutant: string | null): Promise<number> {
  prepareProcess();
  Error.stackTraceLimit = 0;
  let last: RunResult | null = null;
  const attempt = async (schedule: Schedule): Promise<string | null> => {
    const result = await runOne(seed, mutant, { schedule });
    if (result.violation !== null) last = result;
    return result.violation?.invariant ?? null;
  };
  const { plan } = await runOne(seed, mutant);
  const shrunk = await shrink({ seed, mutant, ...plan }, attempt, MAX_SHRINKING_RUNS);
  if (shrunk === null) {
    process.stdout.write(`seed ${seed} does not fail\n`);
    return 1;
  }
  const { faults = [], violation = null } = (last ?? {}) as Partial<RunResult>;
  const seen = ({ draw }: { readonly draw: number }) => faults.find((fault) => fault.draw === draw)?.subject;
  const lines = scheduleLines(shrunk.schedule, seen);
  process.stdout.write(`# ${violation?.message.split("\n")[0] ?? shrunk.invariant}\n`);
  process.stdout.write(`# ${plan.faults.length} faults and ${plan.submissions.length} submissions before, ${shrunk.runs} runs\n`);
  process.stdout.write(`# replay: node dist/bin/sim.mjs --schedule FILE\n${lines.join("\n")}\n`);
  return 0;
}

/**
 * What a run does to its cluster, as a list that can be read, cut and played again: faults with their instants, and what users submit.
 *
 * Each fault draws what it hits from a stream of its own (`draw`), so that a schedule with less in it leaves the rest as it was.
 */
import { CodedError } from "../base/errors.js";
import { FAULTS, type FaultKind, type SimOptions, STORAGE_FAULTS } from "./options.js";
import type { SeededRandom } from "./seed.js";

export interface PlannedFault {
  readonly at: number;
  readonly kind: FaultKind;
  readonly draw: number;
}

export interface Schedule {
  readonly seed: number;
  readonly mutant: string | null;
  readonly faults: readonly PlannedFault[];
  /** Keys. */
  readonly submissions: readonly string[];
}

/** All faults of a seed's safety phase. */
export function planFaults(options: SimOptions, random: SeededRandom): readonly PlannedFault[] {
  const plan = planOf(options.faults, options, random, 1);
  return [...plan, ...planOf(options.storageFaults, options, random.fork("storage"), STORAGE_DRAWS)];
}

/** Draws of storage faults begin here, so that none is also that of another fault. */
const STORAGE_DRAWS = 1_000_001;

function planOf(
  kinds: readonly FaultKind[],
  { safetyMs, meanFaultGapMs }: SimOptions,
  random: SeededRandom,
  firstDraw: number,
): readonly PlannedFault[] {
  const plan: PlannedFault[] = [];
  if (kinds.length === 0) return plan;
  let at = 0;
  for (let draw = firstDraw; ; draw += 1) {
    at += -Math.log(1 - random.fraction()) * meanFaultGapMs;
    const kind = random.pick(kinds);
    if (at >= safetyMs || kind === undefined) return plan;
    plan.push({ at: Math.round(at * 1000) / 1000, kind, draw });
  }
}

/** One line a thing; `parseSchedule` reads it. `seen` says beside a fault what it hit. */
export function scheduleLines(schedule: Schedule, seen: (fault: PlannedFault) => string | undefined = () => undefined): string[] {
  const { seed, mutant, faults, submissions } = schedule;
  const head = `seed ${seed}${mutant === null ? "" : ` mutant ${mutant}`}`;
  const hit = (fault: PlannedFault) => (seen(fault) === undefined ? "" : `  # ${seen(fault)}`);
  return [
    head,
    `submit ${submissions.join(" ")}`,
    ...faults.map((fault) => `fault ${fault.at} ${fault.kind} ${fault.draw}${hit(fault)}`),
  ];
}

export function parseSchedule(text: string): Schedule {
  let seed: number | null = null;
  let mutant: string | null = null;
  const faults: PlannedFault[] = [];
  const submissions: string[] = [];
  for (const [index, line] of text.split("\n").entries()) {
    const words = line.replace(/#.*/, "").split(/\s+/).filter(Boolean);
    const [word, ...rest] = words;
    if (word === undefined) continue;
    if (word === "seed") {
      seed = Number(rest[0]);
      mutant = rest[1] === "mutant" ? (rest[2] ?? null) : null;
    } else if (word === "submit") submissions.push(...rest);
    else if (word === "fault") faults.push(parseFault(rest, index + 1));
    else throw malformed(index + 1, `"${word}" is none of seed, submit, fault`);
  }
  if (seed === null || !Number.isInteger(seed)) throw malformed(1, "there is no seed");
  return { seed, mutant, faults, submissions };
}

function parseFault([at = "", name = "", draw = ""]: readonly string[], line: number): PlannedFault {
  const kind = [...FAULTS, ...STORAGE_FAULTS].find((one) => one === name);
  if (kind === undefined) throw malformed(line, `there is no fault "${name}"`);
  if (!Number.isFinite(Number(at)) || !Number.isInteger(Number(draw))) throw malformed(line, "a fault is `fault AT KIND DRAW`");
  return { at: Number(at), kind, draw: Number(draw) };
}

const malformed = (line: number, why: string): CodedError =>
  new CodedError("INVALID_ARGUMENT", `line ${line} of the schedule cannot be read: ${why}`);

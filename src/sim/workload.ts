/**
 * What users do: a list of submissions drawn from the seed, and client processes that carry them out through the product's client, also again
 * after a failover, after their own death, and a second time by another client under the same key.
 */
import { bytesToHex } from "../base/bytes.js";
import { canonicalJson, type JsonValue } from "../base/json.js";
import { utf8Encode } from "../base/utf8.js";
import type { ApplicationSpec } from "../wire/application.js";
import type { CheckpointSettings } from "../wire/checkpoint.js";
import { simDigest } from "./digest.js";
import type { CountingPlan } from "./jobs/counting-job.js";
import type { SimOptions } from "./options.js";
import { type ProgramPlan, programArguments } from "./runners.js";
import type { SeededRandom } from "./seed.js";
import type { JobPlan } from "./sinks.js";

export interface Submission {
  readonly key: string;
  readonly spec: ApplicationSpec;
  readonly program: ProgramPlan | null;
  readonly job: JobPlan | null;
  /** The job's bundle. */
  readonly bundle: Uint8Array | null;
  /** From the beginning. */
  readonly submitAtMs: number;
  /** After it was acknowledged; null: never. */
  readonly cancelAfterMs: number | null;
  /** Sent twice at once. */
  readonly isDoubled: boolean;
  /** Another client sends it again so long afterwards. */
  readonly repeatAfterMs: number | null;
  /** No worker could ever hold it; it is cancelled when all else is done. */
  readonly isImpossible: boolean;
}

const MEBIBYTE = 1024 * 1024;
/** Of programs: those that run until they are cancelled, whatever signals say. Only who is killed ends. */
const ENDLESS_SHARE = 0.1;
const ENDLESS_MS = 1_800_000;

/** Of each client. */
export function drawAllSubmissions(options: SimOptions, random: SeededRandom): readonly (readonly Submission[])[] {
  return Array.from({ length: options.clients }, (_, client) => drawSubmissions(options, random, client));
}

function drawSubmissions(options: SimOptions, random: SeededRandom, client: number): readonly Submission[] {
  const submissions: Submission[] = [];
  let at = random.between(0, 2_000);
  for (let index = 0; index < options.submissions; index += 1) {
    submissions.push(drawSubmission(options, random, `c${client}-${index}`, Math.min(at, options.safetyMs * 0.9)));
    at += random.between(0, 2 * options.meanSubmitGapMs);
  }
  return submissions;
}

function drawSubmission(options: SimOptions, random: SeededRandom, key: string, submitAtMs: number): Submission {
  // Draws of their own: they leave what else is drawn as it was.
  const kinds = random.fork(`kind of ${key}`);
  const isService = kinds.chance(options.serviceShare);
  const isJob = random.chance(options.jobShare) && !isService;
  const isImpossible = random.chance(0.04) && !isService;
  const isSupervised = random.chance(options.superviseShare) || isJob || isService;
  // A master without records forgets that something was cancelled, and starts it again: what does not end by itself would run on.
  const mayBeEndless = !isJob && !isImpossible && !isService && options.mode !== "none";
  const isEndless = mayBeEndless && kinds.chance(ENDLESS_SHARE);
  const program = isJob ? null : isService ? SERVICE : isEndless ? ENDLESS : drawProgram(random);
  const job = isJob ? withCounting(drawJob(random), options, kinds.fork("counting")) : null;
  const bundle = isJob ? utf8Encode(`the bundle of job ${key}`) : null;
  const saysPartition = random.chance(options.partitionShare);
  const isClientMode = isJob && !isImpossible && random.chance(options.clientModeShare);
  const spec: ApplicationSpec = {
    name: key,
    kind: isJob ? "job" : "process",
    deployMode: isClientMode ? "client" : "cluster",
    supervise: isSupervised,
    restart: {
      maxRestarts: isService ? 10 : (random.pick([0, 2, 10]) ?? 2),
      // A program that fails for ever, slower than its window, would never come to an end.
      windowMs: program?.exitCodes.at(-1) === 0 ? (random.pick([20_000, 600_000]) ?? 600_000) : 600_000,
      minBackoffMs: random.pick([100, 500]) ?? 500,
      maxBackoffMs: 4_000,
    },
    ...(saysPartition && !isService ? { onPartition: random.pick(["continue", "stop"] as const) ?? "stop" } : {}),
    driver: { cores: isImpossible ? 1_000 : isJob ? 0 : (random.pick([0.5, 1, 2]) ?? 1), memoryBytes: 256 * MEBIBYTE },
    job:
      job === null || bundle === null
        ? null
        : {
            artifact: simDigest.sha256Hex(bundle),
            graphHash: simDigest.sha256Hex(utf8Encode(`graph of ${key}`)),
            params: { ...job },
            ...(job.counting === undefined ? {} : { checkpoint: drawCheckpoints(kinds.fork("checkpoints")) }),
            parallelism: 1 + random.below(maxParallelism(options)),
            executor: { cores: 1, memoryBytes: 512 * MEBIBYTE },
          },
    process: program === null ? null : { argv: programArguments(program), env: {}, cwd: null },
  };
  return {
    key,
    spec,
    program,
    job,
    bundle,
    submitAtMs: isService ? Math.min(submitAtMs, SERVICES_FROM_MS) : submitAtMs,
    cancelAfterMs: random.chance(options.cancelShare) || isEndless ? random.between(0, 15_000) : null,
    isDoubled: random.chance(0.15),
    repeatAfterMs: random.chance(0.15) ? random.between(0, 30_000) : null,
    isImpossible,
  };
}

/** A job fits in half of what is there, so that a drained or missing worker does not make it impossible. */
function maxParallelism({ workers, workerCores, workerDuty }: SimOptions): number {
  const sure = workerDuty !== "none" ? Math.max(1, workers - 1) : workers;
  return Math.max(1, Math.min(4, Math.floor((sure * workerCores) / 2)));
}

/** They are there when faults begin. */
const SERVICES_FROM_MS = 5_000;
const SERVICE: ProgramPlan = { durationMs: 80_000, exitCodes: [0], onSignal: "exit" };
const ENDLESS: ProgramPlan = { durationMs: ENDLESS_MS, exitCodes: [0], onSignal: "ignore" };

function drawProgram(random: SeededRandom): ProgramPlan {
  const crashes = random.chance(0.5) ? random.below(4) : 0;
  const exitCodes = [...Array.from({ length: crashes }, () => 1 + random.below(3)), random.chance(0.85) ? 0 : 7];
  return {
    durationMs: random.pick([200, 3_000, 20_000, 70_000]) ?? 3_000,
    exitCodes,
    onSignal: random.pick(["exit", "slow", "ignore"]) ?? "exit",
  };
}

function drawJob(random: SeededRandom): JobPlan {
  return {
    splits: 1 + random.below(8),
    splitMs: random.pick([100, 1_000, 4_000]) ?? 1_000,
    failingTries: random.chance(0.3) ? [1] : [],
    commitFailShare: random.chance(0.3) ? 0.3 : 0,
    commitMs: random.pick([2, 2, 1_000, 12_000]) ?? 2,
  };
}

/** Some jobs take checkpoints: what they do is real, so that it can be seen what they come to. */
function withCounting(job: JobPlan, { countingShare }: SimOptions, random: SeededRandom): JobPlan {
  if (!random.chance(countingShare)) return job;
  const counting: CountingPlan = {
    records: random.pick([40, 100, 200]) ?? 100,
    splits: 1 + random.below(8),
    keys: 1 + random.below(7),
    batch: random.pick([1, 5, 10]) ?? 5,
    pauseMs: random.pick([200, 500, 1_000]) ?? 500,
    appears: random.pick(["at-checkpoint", "at-end"] as const) ?? "at-end",
    apart: random.chance(0.3),
    order: random.fork("order").chance(0.7) ? "in-order" : "any-order",
  };
  return { ...job, commitMs: random.pick([2, 2, 300, 2_000]) ?? 2, counting };
}

function drawCheckpoints(random: SeededRandom): CheckpointSettings {
  return {
    intervalMs: random.pick([500, 1_500, 4_000]) ?? 1_500,
    minPauseMs: random.pick([0, 0, 500]) ?? 0,
    timeoutMs: random.pick([200, 5_000, 600_000]) ?? 5_000,
    toleratedFailures: random.pick([null, null, 0]) ?? null,
  };
}

export const contentHashOf = (spec: ApplicationSpec): string =>
  simDigest.sha256Hex(utf8Encode(canonicalJson(spec as unknown as JsonValue)));
export const keyHex = (key: Uint8Array): string => bytesToHex(key);

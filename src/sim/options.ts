/**
 * What one seed draws: the shape of the cluster, its delays, which faults may happen and what users do. Every seed leaves most kinds of faults out,
 * so that those that are in happen often and together (swarm testing).
 */
import type { MasterSettings } from "../master/settings.js";
import type { NetworkOptions } from "./network.js";
import { type SeededRandom, seededRandom } from "./seed.js";
import { isShared, type StoreMode } from "./stores.js";

export interface Heartbeats {
  readonly heartbeatMs: number;
  readonly silenceMs: number;
}

export const FAULTS = [
  "kill-leader",
  "kill-leader-at-log",
  "kill-standby",
  "kill-all-masters",
  "hand-over",
  "pause-leader",
  "pause-standby",
  "kill-worker",
  "leave-worker",
  "pause-worker",
  "kill-machine",
  "kill-driver",
  "kill-executor",
  "kill-program",
  "pause-process",
  "kill-client",
  "cut-both-ways",
  "cut-one-way",
  "cut-most-workers",
  "reject",
  "reset-links",
  "slow-links",
  "store-cut-off",
  "store-expire",
  "store-unknown",
  "store-slow",
  "store-fail",
  "store-blind",
  "usurp",
  "disk-slow",
  "disk-fail",
  "unheard-leader",
] as const;
/** Of the storage that checkpoints are kept in. They are planned beside the others. */
export const STORAGE_FAULTS = ["storage-crash", "storage-full", "storage-slow", "storage-unreadable"] as const;
export type FaultKind = (typeof FAULTS)[number] | (typeof STORAGE_FAULTS)[number];

/** Faults that never touch the leader, its store or the network: with these alone the leader never changes (I22). */
export const FOLLOWER_FAULTS: readonly FaultKind[] = [
  "kill-standby",
  "pause-standby",
  "kill-worker",
  "leave-worker",
  "pause-worker",
  "kill-driver",
  "kill-executor",
  "kill-program",
  "pause-process",
  "kill-client",
  "disk-slow",
];
const SHARED_ONLY: ReadonlySet<FaultKind> = new Set(["store-cut-off", "store-expire", "store-unknown", "store-blind", "usurp"]);
/** Where a standby lives beside the leader and sees that it is stopped. */
const EXCLUSIVE_ONLY: ReadonlySet<FaultKind> = new Set(["unheard-leader"]);
const isPossible = (kind: FaultKind, mode: StoreMode): boolean =>
  (isShared(mode) || !SHARED_ONLY.has(kind)) && (mode === "exclusive" || !EXCLUSIVE_ONLY.has(kind));

export interface SimOptions {
  readonly seed: number;
  readonly mode: StoreMode;
  readonly masters: number;
  readonly workers: number;
  readonly clients: number;
  readonly hasSecret: boolean;
  readonly workerCores: number;
  readonly network: NetworkOptions;
  readonly storeMinLatencyMs: number;
  readonly storeMaxLatencyMs: number;
  readonly sessionTtlMs: number;
  readonly heartbeats: Heartbeats;
  readonly settings: Partial<MasterSettings>;
  readonly safetyMs: number;
  /** After the last fault everything is finished within this. */
  readonly livenessMs: number;
  readonly onlyFollowerFaults: boolean;
  /** After the last fault a core of the cluster has to finish everything before the rest heals. */
  readonly freezesRest: boolean;
  readonly faults: readonly FaultKind[];
  readonly meanFaultGapMs: number;
  /** Applications that each client submits. */
  readonly submissions: number;
  readonly meanSubmitGapMs: number;
  readonly jobShare: number;
  /** Of jobs that take checkpoints. */
  readonly countingShare: number;
  /** What happens to the storage of checkpoints. */
  readonly storageFaults: readonly FaultKind[];
  readonly superviseShare: number;
  readonly cancelShare: number;
  readonly clientModeShare: number;
  /** What happens by the operator to one worker. */
  readonly workerDuty: "none" | "drain" | "undrain" | "drain-deadline" | "gone";
  /** The operator holds removals for a while. */
  readonly isHolding: boolean;
  /** Of applications that are services: supervised programs that run long and must not run twice. */
  readonly serviceShare: number;
  /** Of applications that say what they do on a partition, and do not leave it to the default. */
  readonly partitionShare: number;
}

const WORKER_DUTIES = ["drain", "undrain", "drain-deadline", "gone"] as const;

export interface OptionsOverride {
  readonly safetyMs?: number;
  readonly mode?: StoreMode;
  readonly faults?: readonly FaultKind[];
}

export function drawOptions(seed: number, override: OptionsOverride = {}): SimOptions {
  const random = seededRandom(seed).fork("options");
  const mode = override.mode ?? drawMode(random);
  const isFollowersOnly = mode !== "none" && random.chance(0.08);
  const network = drawNetwork(random);
  const storeMaxLatencyMs = random.pick([0.5, 2, 10]) ?? 1;
  const pool = FAULTS.filter((kind) => isPossible(kind, mode));
  const isQuiet = random.chance(0.05);
  const share = random.pick([0.15, 0.3, 0.6]) ?? 0.3;
  const drawn = isFollowersOnly ? FOLLOWER_FAULTS : pool.filter((kind) => random.chance(EXCLUSIVE_ONLY.has(kind) ? 0.8 : share));
  // Alone, for other faults let leaders change and leases end before it comes to the point.
  const isUnheard = mode === "exclusive" && !isFollowersOnly && random.fork("unheard").chance(0.4);
  const faults = override.faults ?? (isQuiet ? [] : isUnheard ? [...EXCLUSIVE_ONLY] : drawn);
  const workers = Math.max(1 + random.below(5), isUnheard ? 3 : 1);
  const removalLimit = { perMinute: random.pick([1, 2, 10]) ?? 10, share: random.pick([0.5, 0.5, 1]) ?? 0.5 };
  const counting = drawCounting(random.fork("counting"), isQuiet || override.faults !== undefined);
  return {
    seed,
    mode,
    masters: mode === "none" ? 1 : Math.max(1 + random.below(3), isUnheard ? 2 : 1),
    workers,
    clients: 1 + random.below(3),
    hasSecret: random.chance(0.3),
    workerCores: 2 + random.below(6),
    network,
    storeMinLatencyMs: storeMaxLatencyMs / 10,
    storeMaxLatencyMs,
    sessionTtlMs: random.pick([4_000, 10_000]) ?? 10_000,
    heartbeats: { heartbeatMs: 3_000, silenceMs: 10_000 },
    settings: {
      heartbeatMs: 3_000,
      placement: random.chance(0.5) ? "spread" : "pack",
      removalLimit,
      // Without its watches an idle leader may not know for so long that it was deposed ("store-blind", "usurp").
      deposedWithinMs: mode === "shared" ? 12_000 : 0,
      recoveryDeadlineMs: random.pick([5_000, 15_000]) ?? 15_000,
      maxFinished: random.chance(0.1) ? 3 : 1_000,
    },
    safetyMs: override.safetyMs ?? random.between(40_000, 90_000),
    // Services run one after the other where one worker has to take them all.
    livenessMs: faults.includes("unheard-leader") ? 1_600_000 : 400_000,
    onlyFollowerFaults: isFollowersOnly,
    faults,
    meanFaultGapMs: random.pick([1_500, 4_000, 12_000]) ?? 4_000,
    submissions: 2 + random.below(5),
    meanSubmitGapMs: random.pick([1_000, 5_000, 10_000]) ?? 5_000,
    jobShare: random.pick([0.2, 0.5, 0.8]) ?? 0.5,
    countingShare: counting.share,
    storageFaults: counting.faults,
    superviseShare: random.pick([0.2, 0.7]) ?? 0.5,
    cancelShare: random.pick([0, 0.15, 0.4]) ?? 0.15,
    clientModeShare: random.chance(0.3) ? 0.3 : 0,
    workerDuty: random.chance(0.3) && workers > 1 ? (random.pick(WORKER_DUTIES) ?? "drain") : "none",
    isHolding: random.chance(0.1),
    partitionShare: random.pick([0, 0.3]) ?? 0,
    freezesRest: !isFollowersOnly && random.chance(0.5),
    // What that fault is about: otherwise few of those workers run any.
    serviceShare: faults.includes("unheard-leader") ? (random.pick([0.4, 0.8]) ?? 0.4) : 0,
  };
}

/** Draws of their own: they leave what else is drawn as it was. */
function drawCounting(random: SeededRandom, isQuiet: boolean): { readonly share: number; readonly faults: readonly FaultKind[] } {
  const share = random.pick([0, 0.4, 0.8]) ?? 0.4;
  const faults = random.chance(0.5) ? STORAGE_FAULTS.filter(() => random.chance(0.5)) : [];
  return { share, faults: isQuiet || share === 0 ? [] : faults };
}

function drawMode(random: SeededRandom): StoreMode {
  const draw = random.fraction();
  if (draw < 0.25) return "shared";
  if (draw < 0.5) return "zookeeper";
  return draw < 0.85 ? "exclusive" : "none";
}

function drawNetwork(random: SeededRandom): NetworkOptions {
  const maxLatencyMs = random.pick([0.5, 2, 20]) ?? 2;
  return { minLatencyMs: maxLatencyMs / 5, maxLatencyMs, tailShare: random.pick([0, 0.02]) ?? 0 };
}

/**
 * The fixed situation in which masters die at every point: when the first leader goes, something of every kind is in the middle of something.
 *
 *   runs on           a program, a job, a job of a driver in client mode
 *   is decided        a job whose output is being made visible
 *   waits             an application that no worker can hold; one between two attempts; one whose machine was lost a moment ago
 *   is being stopped  a program that ignores signals
 *   comes meanwhile   submissions (one of them sent twice), a cancel, the ends of two programs, a worker that starts again
 *
 * Boundary: gives options, submissions and a script; runs nothing.
 */
import { utf8Encode } from "../../base/utf8.js";
import type { ApplicationSpec } from "../../wire/application.js";
import type { Cluster } from "../cluster.js";
import { simDigest } from "../digest.js";
import type { SimOptions } from "../options.js";
import { type ProgramPlan, programArguments } from "../runners.js";
import type { JobPlan } from "../sinks.js";
import type { StoreMode } from "../stores.js";
import type { Submission } from "../workload.js";

/** When the first leader goes. */
export const LEADER_GOES_AT_MS = 14_000;
/** From then until everything that recovery has to do is done. */
export const RECOVERED_AFTER_MS = 30_000;

export interface MasterSituation {
  readonly mode: StoreMode;
  /**
   * crash      the leader is killed, a standby takes over
   * hand-over  the leader is told to go: its own way out is part of what is enumerated
   * cold       all masters are killed, and the first to be started again leads
   */
  readonly ending: "crash" | "hand-over" | "cold";
}

export const MASTER_SITUATIONS: readonly MasterSituation[] = [
  { mode: "shared", ending: "crash" },
  { mode: "shared", ending: "hand-over" },
  { mode: "shared", ending: "cold" },
  { mode: "zookeeper", ending: "crash" },
  { mode: "zookeeper", ending: "hand-over" },
  { mode: "zookeeper", ending: "cold" },
  { mode: "exclusive", ending: "crash" },
  { mode: "exclusive", ending: "hand-over" },
  { mode: "exclusive", ending: "cold" },
  { mode: "none", ending: "cold" },
];

const MASTERS: Readonly<Record<StoreMode, number>> = { shared: 3, zookeeper: 3, exclusive: 2, none: 1 };

export function optionsOf({ mode }: Pick<MasterSituation, "mode">): SimOptions {
  return {
    seed: 1,
    mode,
    masters: MASTERS[mode],
    workers: 4,
    clients: 3,
    hasSecret: false,
    workerCores: 6,
    network: { minLatencyMs: 0.1, maxLatencyMs: 0.5, tailShare: 0 },
    storeMinLatencyMs: 0.1,
    storeMaxLatencyMs: 0.5,
    sessionTtlMs: 4_000,
    heartbeats: { heartbeatMs: 3_000, silenceMs: 10_000 },
    settings: { heartbeatMs: 3_000, recoveryDeadlineMs: 6_000 },
    safetyMs: LEADER_GOES_AT_MS + RECOVERED_AFTER_MS,
    livenessMs: 120_000,
    onlyFollowerFaults: false,
    freezesRest: false,
    faults: [],
    meanFaultGapMs: 1_000,
    submissions: 0,
    meanSubmitGapMs: 0,
    jobShare: 0,
    countingShare: 0,
    storageFaults: [],
    superviseShare: 0,
    cancelShare: 0,
    clientModeShare: 0,
    workerDuty: "none",
    isHolding: false,
    partitionShare: 0,
    serviceShare: 0,
  };
}

interface Wish {
  readonly submitAtMs: number;
  readonly cancelAtMs?: number;
  readonly supervise?: boolean;
  readonly cores?: number;
  readonly program?: Partial<ProgramPlan>;
  readonly job?: Partial<JobPlan>;
  readonly clientMode?: boolean;
  readonly isDoubled?: boolean;
  /** Where it is when recovery has settled can be told: nothing is to happen to it about then. */
  readonly isSteady?: boolean;
}

const GOES = LEADER_GOES_AT_MS;

const WISHES: Readonly<Record<string, Wish>> = {
  "program-runs": { submitAtMs: 300, supervise: true, program: { durationMs: 48_000 }, isSteady: true },
  "job-runs": { submitAtMs: 400, job: { splits: 12, splitMs: 9_500 }, isSteady: true },
  "client-job-runs": { submitAtMs: 8_000, clientMode: true, job: { splits: 6, splitMs: 5_000 } },
  "job-commits": { submitAtMs: GOES - 3_000, job: { splits: 2, splitMs: 100, commitMs: 6_000 } },
  "fits-nowhere": { submitAtMs: 1_000, cores: 1_000, cancelAtMs: GOES + RECOVERED_AFTER_MS + 3_000, isSteady: true },
  "between-attempts": { submitAtMs: GOES - 3_000, supervise: true, program: { durationMs: 200, exitCodes: [1, 1, 0] } },
  "ignores-signals": {
    submitAtMs: 1_200,
    program: { durationMs: 60_000, onSignal: "ignore" },
    cancelAtMs: GOES - 300,
    isSteady: true,
  },
  "cancelled-meanwhile": { submitAtMs: 1_300, program: { durationMs: 60_000 }, cancelAtMs: GOES + 3, isSteady: true },
  "ends-meanwhile": { submitAtMs: 1_400, program: { durationMs: 60_000 }, isSteady: true },
  "killed-meanwhile": { submitAtMs: 1_500, supervise: true, program: { durationMs: 33_000 }, isSteady: true },
  "submitted-before": { submitAtMs: GOES - 1, program: { durationMs: 37_000 }, isSteady: true },
  "submitted-meanwhile": { submitAtMs: GOES + 2, program: { durationMs: 37_000 }, isDoubled: true, isSteady: true },
  "job-meanwhile": { submitAtMs: GOES + 4, job: { splits: 6, splitMs: 12_000 }, isSteady: true },
  "on-lost-machine": { submitAtMs: 1_600, supervise: true, program: { durationMs: 37_000 }, isSteady: true },
};

export const isSteady = (key: string): boolean => WISHES[key]?.isSteady === true;

/** Dealt to the clients in turn. */
export function submissionsOf({ clients }: SimOptions): readonly (readonly Submission[])[] {
  const all = Object.entries(WISHES).map(([key, wish]) => submissionOf(key, wish));
  return Array.from({ length: clients }, (_, client) => all.filter((_submission, index) => index % clients === client));
}

function submissionOf(key: string, wish: Wish): Submission {
  const program: ProgramPlan | null =
    wish.job === undefined ? { durationMs: 1_000, exitCodes: [0], onSignal: "exit", ...wish.program } : null;
  const job: JobPlan | null =
    wish.job === undefined ? null : { splits: 2, splitMs: 1_000, failingTries: [], commitFailShare: 0, commitMs: 2, ...wish.job };
  const bundle = job === null ? null : utf8Encode(`the bundle of job ${key}`);
  const spec: ApplicationSpec = {
    name: key,
    kind: job === null ? "process" : "job",
    deployMode: wish.clientMode === true ? "client" : "cluster",
    supervise: wish.supervise === true || job !== null,
    restart: { maxRestarts: 5, windowMs: 600_000, minBackoffMs: 4_000, maxBackoffMs: 4_000 },
    driver: { cores: wish.cores ?? (job === null ? 0.5 : 0), memoryBytes: 2 ** 26 },
    job:
      job === null || bundle === null
        ? null
        : {
            artifact: simDigest.sha256Hex(bundle),
            graphHash: simDigest.sha256Hex(utf8Encode(`graph of ${key}`)),
            params: job,
            parallelism: 2,
            executor: { cores: 1, memoryBytes: 2 ** 26 },
          },
    process: program === null ? null : { argv: programArguments(program), env: {}, cwd: null },
  };
  return {
    key,
    spec,
    program,
    job,
    bundle,
    submitAtMs: wish.submitAtMs,
    cancelAfterMs: wish.cancelAtMs === undefined ? null : wish.cancelAtMs - wish.submitAtMs,
    isDoubled: wish.isDoubled === true,
    repeatAfterMs: null,
    isImpossible: false,
  };
}

/** What else happens, at fixed instants. */
export function script(cluster: Cluster, ending: MasterSituation["ending"]): void {
  const { world } = cluster;
  const at = (instant: number, act: () => void) => void world.schedule(instant, "script", act);
  const workerOf = (key: string) =>
    cluster.workers.find(({ disk }) => disk.living().some(({ applicationName }) => applicationName === key));
  const killProgram = (key: string) => {
    const disk = workerOf(key)?.disk;
    for (const seen of disk?.living() ?? []) if (seen.applicationName === key) disk?.killProcess(seen.processId);
  };
  let lostMachine: string | null = null;
  // Its worker is lost ten seconds later; what ran there may start elsewhere three seconds after that: after the first leader has gone.
  at(GOES - 11_000, () => {
    lostMachine = workerOf("on-lost-machine")?.machine ?? null;
    if (lostMachine !== null) cluster.powerOff(lostMachine);
  });
  at(GOES + 9_000, () => lostMachine !== null && cluster.powerOn(lostMachine));
  // It is back in the middle of recovery, and adopts what runs.
  at(GOES - 900, () => cluster.workers.find(({ machine }) => machine !== lostMachine)?.process?.kill());
  at(GOES + 1, () => killProgram("ends-meanwhile"));
  at(GOES + 5, () => killProgram("killed-meanwhile"));
  at(GOES, () => {
    const leader = cluster.leader();
    if (ending === "hand-over") {
      const { host, process } = leader ?? { host: null, process: null };
      if (host === null || process === null) return;
      world.schedule(world.now(), "SIGTERM", () => void host.close().then(() => process.kill()), process);
    } else for (const slot of cluster.masters) if (ending === "cold" || slot === leader) slot.process?.kill();
  });
}

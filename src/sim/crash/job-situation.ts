/**
 * One job that takes checkpoints, whose driver, executors and master die at every point of a part of its life:
 *
 *   completion   from the first order of the fourth checkpoint to that of the fifth: snapshots, manifest, pointer, sinks, and the end of the first one
 *   takeover     its driver is killed when the third pointer is durable and nothing of it is visible; from then on to the next checkpoint
 *   restore      the same with an executor besides, so that nothing can be taken over
 *   end          from the durable decision on: the commit of everything, clean-up, the report
 *
 * Boundary: gives options, the submission, what is watched and what is compared; runs nothing.
 */
import { utf8Encode } from "../../base/utf8.js";
import type { Assembly } from "../assembly.js";
import type { Cluster } from "../cluster.js";
import { simDigest } from "../digest.js";
import type { CountingPlan } from "../jobs/counting-job.js";
import type { Observer } from "../observe.js";
import type { SimOptions } from "../options.js";
import type { StoreMode } from "../stores.js";
import type { Submission } from "../workload.js";
import type { CrashPoints } from "./crash-points.js";
import type { RunState } from "./run-state.js";
import { optionsOf } from "./situation.js";

export interface JobSituation {
  readonly mode: StoreMode;
  readonly window: "completion" | "takeover" | "restore" | "end";
  readonly appears: CountingPlan["appears"];
}

export const JOB_SITUATIONS: readonly JobSituation[] = (["completion", "takeover", "restore", "end"] as const).flatMap((window) =>
  (["at-checkpoint", "at-end"] as const).map((appears) => ({ mode: "shared" as const, window, appears })),
);

const KEY = "counting";
const WATCHED_CHECKPOINT = 4;
const RESTORED_CHECKPOINT = 3;

export function jobOptions(): SimOptions {
  return { ...optionsOf({ mode: "shared" }), masters: 2, workers: 2, clients: 1, safetyMs: 5_000, livenessMs: 200_000 };
}

export function jobSubmission({ appears }: JobSituation): Submission {
  const counting: CountingPlan = { records: 48, splits: 4, keys: 3, batch: 4, pauseMs: 150, appears, order: "in-order" };
  const job = { splits: 0, splitMs: 0, failingTries: [], commitFailShare: 0, commitMs: 5, counting };
  const bundle = utf8Encode("the bundle of the counting job");
  return {
    key: KEY,
    spec: {
      name: KEY,
      kind: "job",
      deployMode: "cluster",
      supervise: true,
      restart: { maxRestarts: 10, windowMs: 600_000, minBackoffMs: 200, maxBackoffMs: 200 },
      driver: { cores: 0, memoryBytes: 2 ** 26 },
      job: {
        artifact: simDigest.sha256Hex(bundle),
        graphHash: simDigest.sha256Hex(utf8Encode("its graph")),
        params: job,
        parallelism: 2,
        executor: { cores: 1, memoryBytes: 2 ** 26 },
        checkpoint: { intervalMs: 200, minPauseMs: 0, timeoutMs: 10_000, toleratedFailures: null },
      },
      process: null,
    },
    program: null,
    job,
    bundle,
    submitAtMs: 300,
    cancelAfterMs: null,
    isDoubled: false,
    repeatAfterMs: null,
    isImpossible: false,
  };
}

/** Counts the points of its driver, its executors and the leader, while the window is open. */
export function watchJob({ window }: JobSituation, cluster: Cluster, points: CrashPoints): Observer {
  let state: "before" | "open" | "over" = "before";
  let restoredUpTo = 0;
  points.watch(
    (process) => state === "open" && (process.id.startsWith("app-") || process.id.startsWith("master-")),
    (process) => {
      for (const { disk } of cluster.workers) disk.killProcess(process.id);
      process.kill();
    },
  );
  const open = () => {
    if (state === "before") state = "open";
  };
  return {
    checkpointOrdered: ({ checkpoint: { id, order } }) => {
      if (order !== "begin") return;
      if (window === "completion" && id === WATCHED_CHECKPOINT) open();
      const isNext = window === "completion" ? id > WATCHED_CHECKPOINT : window !== "end" && id > restoredUpTo;
      if (state === "open" && isNext) state = "over";
    },
    committed: ({ process, records }) => {
      if (process !== null) points.pass(process, "committed");
      for (const seen of records) {
        if (seen.kind !== "application" || seen.record === null) continue;
        const { commit, checkpoints, attempt } = seen.record;
        if (window === "end" && commit !== null) open();
        const newest = checkpoints?.completed.at(-1)?.id ?? 0;
        if ((window !== "takeover" && window !== "restore") || state !== "before" || newest < RESTORED_CHECKPOINT) continue;
        // Ids of the dead driver's reservation are skipped.
        restoredUpTo = (checkpoints?.nextId ?? 1) - 1;
        open();
        const driver = `${seen.id}.d${attempt}`;
        const lost = window === "restore" ? [driver, `${driver}.e1`] : [driver];
        for (const { disk } of cluster.workers) for (const processId of lost) disk.killProcess(processId);
      }
    },
  };
}

/** What it has come to: the answer to its user, every record of the output, and nothing besides. */
export function jobState({ accounts, cluster, history }: Assembly): RunState {
  const facts = accounts.map(
    ({ submission, finalState, exitCode }) => `answer: ${submission.key} is ${finalState}, exit code ${exitCode}`,
  );
  for (const { id } of history.applications.values()) {
    const { parts, state } = cluster.counting;
    const shown = parts.shownRecords(id).map(({ n }) => n);
    facts.push(`output: ${shown.sort((a, b) => a - b).join(",")}`);
    facts.push(`left: ${state.blobsOf(id)} blobs, ${parts.stagedParts(id).length} staged parts`);
  }
  return facts;
}

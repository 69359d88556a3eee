/**
 * I7 the output of an application is decided once, and what becomes visible is what was decided: every split exactly once.
 */
import type { CommitManifest } from "../../wire/application.js";
import type { Staged } from "../sinks.js";
import { type Checker, keepsRecords } from "./context.js";

const nameOf = (commit: CommitManifest): string => `${commit.attempt}.${commit.try ?? 1}`;

export const checkOutput: Checker = (context) => {
  const { history, violate, accounts, cluster } = context;
  const visible = new Map<string, string>();
  return {
    committed: ({ records }) => {
      for (const seen of records) {
        if (seen.kind !== "application" || seen.record === null) continue;
        const before = history.applications.get(seen.id)?.commit ?? null;
        const after = seen.record.commit;
        if (before !== null && (after === null || nameOf(after) !== nameOf(before)))
          violate(
            "I7",
            `the output of ${seen.id}, decided by try ${nameOf(before)}, was decided again by ${after === null ? "nobody" : nameOf(after)}`,
          );
      }
    },
    sinkCommitted: ({ applicationId, attempt, committables, process }) => {
      const record = history.applications.get(applicationId);
      const known = visible.get(applicationId);
      visible.set(applicationId, attempt);
      const splits = committables.flatMap((part) => (part as Staged).splits);
      const expected = accounts.find(({ submission }) => submission.key === record?.submissionKey)?.submission.job?.splits;
      if (new Set(splits).size !== splits.length || (expected !== undefined && splits.length !== expected))
        violate("I7", `try ${attempt} of ${applicationId} shows splits ${splits.join(",")} of ${expected ?? "?"}`);
      if (!keepsRecords(context)) return;
      if (known !== undefined && known !== attempt)
        violate("I7", `${process.id} made the output of try ${attempt} of ${applicationId} visible beside that of try ${known}`);
      const decided = record?.commit ?? null;
      if (record !== undefined && (decided === null || nameOf(decided) !== attempt))
        violate(
          "I7",
          `${process.id} made try ${attempt} of ${applicationId} visible, decided is ${decided === null ? "nothing" : nameOf(decided)}`,
        );
    },
    sinkCleaned: (applicationId, removed, process) => {
      const decided = history.applications.get(applicationId)?.commit ?? null;
      if (decided !== null && removed.includes(nameOf(decided)) && visible.get(applicationId) !== nameOf(decided))
        violate(
          "I7",
          `${process.id} removed what try ${nameOf(decided)} of ${applicationId} had staged, which is decided and not visible yet`,
        );
    },
    finished: () => {
      if (!keepsRecords(context)) return;
      for (const [id, record] of history.applications) {
        // What takes checkpoints is looked at by checkpoints.ts.
        if (record.spec.job === null || record.spec.job.checkpoint !== undefined || record.state !== "finished") continue;
        if (!visible.has(id)) violate("I7", `${id} is finished and its output is not there`);
      }
      for (const [id] of visible) {
        const record = history.applications.get(id);
        // In client mode nobody else can finish what a driver, that is thought to be gone, has decided.
        if (record?.spec.deployMode === "client") continue;
        // Some drivers die faster than they can say that they are done.
        if (record?.reason?.code === "RESTARTS_EXHAUSTED") continue;
        if (record !== undefined && record.state !== "finished" && cluster.options.mode !== "none")
          violate("I7", `the output of ${id} is visible and it is ${record.state}`);
      }
    },
  };
};

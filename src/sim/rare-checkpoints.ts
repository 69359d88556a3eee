/** Rare states of checkpoints: of what may happen between their steps, and of what is restored. */

import { countingPlanOf, durableManifest, partsOf } from "./checkers/checkpoints.js";
import type { CheckContext } from "./checkers/context.js";
import type { RareState } from "./coverage.js";
import type { Observer } from "./observe.js";

const BY_TEXT: readonly (readonly [RegExp, RareState])[] = [
  [/^Checkpoint \d+ was given up: it was not complete in time/, "checkpoint given up: not in time"],
  [/^Checkpoint \d+ was given up: .*no space left/, "checkpoint given up: its storage is full"],
  [/^Checkpoint \d+ was given up: the master refused it/, "checkpoint given up: its pointer was refused"],
  [/^Try \d+ failed: Checkpoint \d+ failed, and more in a row/, "job tried again after too many checkpoints failed"],
  [/^The sinks could not commit checkpoint/, "sinks could not commit a checkpoint at once"],
  [/^Try \d+ failed: .*input\/output error/, "checkpoint unreadable for a while"],
  [/^Checkpoint \d+ was given up: a slice restarts/, "checkpoint given up: a slice restarts alone"],
  [/^Slice \d+ goes on from the start/, "slice restarts alone, from the start"],
  [/^Slice \d+ goes on from checkpoint/, "slice restarts alone, from a checkpoint"],
  [/^Try [\d.]+ goes on on the \d+ executors that run it/, "taken over by another driver"],
  [/^The try of the attempt before can't go on/, "not taken over, though something runs"],
];

export function ofCheckpoints(context: CheckContext, reached: (state: RareState) => void): Observer {
  const { cluster, history } = context;
  const restored = new Set<string>();
  /** Tries that are another driver's by now: their names are older than it. Of any application, which is near enough. */
  const takenOver = new Set<string>();
  /** By try, the newest checkpoint that its executors were told to be complete. */
  const told = new Map<string, number>();
  const driverOf = (id: string, attempt: number) =>
    cluster.launches.find(({ processId }) => processId === `${id}.d${attempt}`)?.process ?? null;
  return {
    logged: ({ message }) => {
      const name = /^Try ([\d.]+) goes on on the \d+ executors/.exec(message)?.[1];
      if (name !== undefined) takenOver.add(name);
      for (const [pattern, state] of BY_TEXT) if (pattern.test(message)) reached(state);
    },
    committed: ({ records }) => {
      for (const seen of records) {
        if (seen.kind !== "application" || seen.record === null || countingPlanOf(seen.record) === undefined) continue;
        const { record } = seen;
        const before = history.applications.get(seen.id)?.checkpoints?.completed.at(-1);
        const pointer = record.checkpoints?.completed.at(-1);
        if (record.commit?.checkpoint !== undefined && record.state === "finished")
          reached("output of a checkpoint decided at the end");
        if (pointer === undefined || pointer.id === (before?.id ?? 0)) continue;
        reached("checkpoint completed");
        if (driverOf(seen.id, pointer.attempt)?.state === "dead") reached("pointer durable after its driver's death");
        if (before !== undefined && pointer.attempt > before.attempt && pointer.id > before.id + 1)
          reached("ids skipped by a new driver");
        const manifest = durableManifest(context, seen.id, pointer);
        if (manifest?.slices.some(({ finished }) => finished === "all") === true) reached("checkpoint with a finished executor");
        else if (manifest?.slices.some(({ finished }) => finished !== "all" && finished.length > 0) === true)
          reached("checkpoint with a finished subtask");
      }
    },
    sliceStarted: ({ applicationId, attempt, order }) => {
      const record = history.applications.get(applicationId);
      const pointer = order.restore;
      if (pointer === undefined || restored.has(`${applicationId} ${attempt}`)) return;
      restored.add(`${applicationId} ${attempt}`);
      reached("restored from a checkpoint");
      if (record !== undefined && record.attempt > Number(attempt.split(".")[0])) reached("superseded driver begins a try");
      const newest = record?.checkpoints?.completed.find(({ id }) => id === pointer.id);
      if (newest !== undefined && Number(attempt.split(".")[0]) > newest.attempt) reached("restored by another driver");
      const manifest = newest === undefined ? null : durableManifest(context, applicationId, newest);
      if (partsOf(manifest?.carried ?? {}).length > 0) reached("restored with output that waits for the end");
    },
    checkpointOrdered: ({ applicationId, attempt, checkpoint }) => {
      const record = history.applications.get(applicationId);
      const key = `${applicationId} ${attempt}`;
      const toldBefore = told.get(key) ?? 0;
      told.set(key, Math.max(toldBefore, checkpoint.completed));
      if (checkpoint.order === "abort" && takenOver.has(attempt) && checkpoint.completed > toldBefore)
        reached("taken over at a checkpoint whose completion nobody was told");
      if (record === undefined || checkpoint.order !== "begin") return;
      if (record.attempt > Number(attempt.split(".")[0]) && !takenOver.has(attempt))
        reached("superseded driver takes a checkpoint");
      if (cluster.leader() === null) reached("checkpoint begins while no master leads");
    },
    partsCommitted: ({ parts, repeated, again }) => {
      if (again && parts.length > 0) reached("output of a checkpoint committed at a restore");
      if (repeated.length > 0) reached("output of a checkpoint committed twice");
    },
    stateLost: (count) => {
      if (count > 0) reached("state lost that was not synced");
    },
  };
}

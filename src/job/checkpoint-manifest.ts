/** What a checkpoint holds, from the answers of the executors and what the driver itself knows: splits that remain, output that is staged. */
import { assert, present } from "../base/assert.js";
import type { JsonValue } from "../base/json.js";
import {
  type CheckpointManifest,
  MAX_SUBTASKS_TOLD,
  type SlicePart,
  type SliceSnapshot,
  type StagedBySink,
  type SubtaskCheckpoint,
} from "../wire/checkpoint.js";
import type { Answer, JobCheckpoints } from "./driver-checkpoints.js";
import type { DriverState } from "./driver-state.js";
import type { JobTry } from "./job-try.js";
import { leastWatermarks } from "./least-watermarks.js";
import type { SourceMark } from "./splits.js";
import { addCounts, allShown, mergeStaged, stagedOf } from "./staged-output.js";

export function manifestOf(
  driver: DriverState,
  checkpoints: JobCheckpoints,
  id: number,
  answers: ReadonlyMap<string, Answer>,
): CheckpointManifest {
  const { current, config } = driver;
  const attempt = current.name;
  const snapshotOf = (processId: string): SliceSnapshot | null => {
    const answer = answers.get(processId);
    return answer === undefined || answer === "finished" ? null : answer;
  };
  const members = current.memberIds();
  const splits = present(current.splits, "splits of a try that runs");
  const remaining = splits.remaining(marksOf(current, answers));
  let staged: StagedBySink = {};
  let counts = current.restored?.counts ?? { recordsIn: 0, recordsOut: 0, badRecords: 0, operators: [] };
  for (const processId of members) {
    const snapshot = snapshotOf(processId);
    staged = mergeStaged(staged, stagedOf(current.nameOf(processId), snapshot?.committables ?? current.committablesOf(processId)));
    counts = addCounts(counts, current.countsOf(processId, snapshot?.counts));
  }
  const watermarks = leastWatermarks(members.flatMap((processId) => snapshotOf(processId) ?? []));
  const { shown, carried } = checkpoints;
  const [atEnd, atCheckpoint] = divide(driver, staged);
  return {
    version: 1,
    applicationId: config.application.id,
    id,
    attempt,
    graphHash: config.graphHash,
    slices: members.map((processId) => partOf(snapshotOf(processId), watermarks)),
    sources: Object.fromEntries(
      [...remaining].map(([uid, { subtasks, totalRecords, splits: left }]) => [
        uid,
        { subtasks, totalRecords, remaining: [...left] },
      ]),
    ),
    commit: mergeStaged({}, atCheckpoint, allShown(shown)),
    carried: mergeStaged(carried, atEnd),
    counts,
  };
}

/** Where readers stood in their sources; undefined: at their end. */
export function marksOf(
  current: JobTry,
  answers: ReadonlyMap<string, Answer>,
): (source: string, reader: string) => SourceMark | undefined {
  const processOf = new Map(current.memberIds().map((processId) => [current.readerOf(processId), processId]));
  return (source, reader) => {
    const processId = processOf.get(reader) ?? "";
    const answer = answers.get(processId);
    if (answer === undefined || answer === "finished") return undefined;
    const { taken, reading } = present(answer.sources[source], `the position of ${processId} in source ${source}`);
    return { taken, reading: reading.map(({ nth, position }) => ({ nth, position: (position ?? null) as JsonValue })) };
  };
}

/** By when the sinks' output appears: at the end, and with the checkpoint. */
function divide(driver: DriverState, staged: StagedBySink): readonly [StagedBySink, StagedBySink] {
  const entries = Object.entries(staged);
  const isAtCheckpoint = (uid: string): boolean => driver.config.appears?.get(uid) === "at-checkpoint";
  return [
    Object.fromEntries(entries.filter(([uid]) => !isAtCheckpoint(uid))),
    Object.fromEntries(entries.filter(([uid]) => isAtCheckpoint(uid))),
  ];
}

function partOf(snapshot: SliceSnapshot | null, watermarks: Record<string, number | null>): SlicePart {
  if (snapshot === null) return { finished: "all", states: {}, writers: {} };
  const { finished, states, writers } = snapshot;
  return { finished, states, writers, watermarks };
}

export function stateBytes(slices: readonly SlicePart[]): number {
  const handles = slices.flatMap(({ states }) => Object.values(states).flat());
  const bytes = handles.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  assert(Number.isSafeInteger(bytes), "the size of a checkpoint is a number");
  return bytes;
}

/** Of those that had not ended. Of very many those that took longest, in the order of subtasks. */
export function subtasksOf(
  { current }: DriverState,
  answers: ReadonlyMap<string, Answer>,
  { beganAt, answeredAt }: { readonly beganAt: number; readonly answeredAt: ReadonlyMap<string, number> },
): SubtaskCheckpoint[] {
  const all = current.memberIds().flatMap((processId, subtask) => {
    const answer = answers.get(processId);
    if (answer === undefined || answer === "finished") return [];
    const durationMs = Math.max(0, (answeredAt.get(processId) ?? beganAt) - beganAt);
    return [{ subtask, stateBytes: stateBytes([answer]), durationMs, alignmentMs: answer.alignmentMs ?? 0 }];
  });
  const told = all.sort((a, b) => b.durationMs - a.durationMs).slice(0, MAX_SUBTASKS_TOLD);
  return told.sort((a, b) => a.subtask - b.subtask);
}

/** Pieces of output in it. */
export const piecesOf = (staged: StagedBySink): number => Object.values(staged).reduce((sum, list) => sum + list.length, 0);

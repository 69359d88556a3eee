/**
 * From the manifest of a savepoint to the first checkpoint of the job that begins from it, at another parallelism and with another graph if need be. Pure.
 *
 *   keyed state     each new subtask gets the blobs of all old ones that own some of its key groups, and takes what is its own (`spread`)
 *   splits          are handed out as they are asked for; what was begun goes on where it stood, whoever reads it
 *   writers         go on from the furthest of all old ones, so that no number of a part is used twice
 *   finished        an operator has ended when all its old subtasks had
 *
 * Invariants: nothing of the savepoint is given to two subtasks; nothing of an operator that the job has is left out; what was committed before the savepoint
 * was complete is not committed again.
 */
import { assert } from "../base/assert.js";
import { keyGroupsOfSubtask } from "../dataflow/key-groups.js";
import type { CheckpointManifest, SavepointDescription, SlicePart, StateHandle } from "../wire/checkpoint.js";
import type { PlacedOperator, TargetJob } from "./compatibility.js";

export interface NewCheckpoint {
  readonly applicationId: string;
  readonly id: number;
  readonly attempt: string;
  readonly graphHash: string;
  /** Number of executors. */
  readonly parallelism: number;
  /** Of sources that the savepoint does not know. */
  readonly newSources: CheckpointManifest["sources"];
}

export function firstCheckpoint(savepoint: SavepointDescription, job: TargetJob, made: NewCheckpoint): CheckpointManifest {
  const { manifest } = savepoint;
  const known = new Set(job.operators.map(({ uid }) => uid));
  const { applicationId, id, attempt, graphHash } = made;
  const only = <T>(all: Readonly<Record<string, T>>): Record<string, T> =>
    Object.fromEntries(Object.entries(all).filter(([uid]) => known.has(uid)));
  return {
    version: 1,
    applicationId,
    id,
    attempt,
    graphHash,
    slices: slicesOf(savepoint, job, made.parallelism),
    sources: { ...sourcesOf(manifest, job), ...made.newSources },
    commit: {},
    carried: only(manifest.carried),
    counts: { ...manifest.counts, operators: manifest.counts.operators.filter(({ uid }) => known.has(uid)) },
  };
}

function sourcesOf({ sources }: CheckpointManifest, job: TargetJob): CheckpointManifest["sources"] {
  const subtasks = new Map(job.operators.filter(({ kind }) => kind === "source").map((one) => [one.uid, one.subtasks]));
  return Object.fromEntries(
    Object.entries(sources).flatMap(([uid, source]) => {
      const readers = subtasks.get(uid);
      return readers === undefined ? [] : [[uid, { ...source, subtasks: readers }]];
    }),
  );
}

function slicesOf(savepoint: SavepointDescription, job: TargetJob, parallelism: number): SlicePart[] {
  const before = new Map(savepoint.operators.map((operator) => [operator.uid, operator]));
  const finished = finishedVertices(savepoint, job);
  // The same in all parts: the least of all subtasks, so that it holds for new ones.
  const watermarks = savepoint.manifest.slices.find((slice) => slice.watermarks !== undefined)?.watermarks;
  const time = watermarks === undefined ? {} : { watermarks };
  return Array.from({ length: parallelism }, (_, subtask) => {
    const part: SlicePart = { finished: finished(subtask), states: {}, writers: {}, ...time };
    const spread: string[] = [];
    for (const operator of job.operators) {
      const was = before.get(operator.uid);
      if (was === undefined || subtask >= operator.subtasks) continue;
      const handles = statesOf(savepoint, was, operator, job.maxParallelism, subtask);
      if (handles.length > 0) {
        part.states[operator.uid] = handles;
        if (was.subtasks !== operator.subtasks) spread.push(operator.uid);
      }
      const writer = writerOf(savepoint.manifest, operator.uid, subtask, was.subtasks !== operator.subtasks);
      if (writer !== undefined) part.writers[operator.uid] = writer;
    }
    return spread.length === 0 ? part : { ...part, spread };
  });
}

/** Blobs in which there may be entries of this subtask. */
function statesOf(
  { manifest: { slices } }: SavepointDescription,
  was: PlacedOperator,
  operator: PlacedOperator,
  maxParallelism: number,
  subtask: number,
): StateHandle[] {
  if (was.subtasks === operator.subtasks) return slices[subtask]?.states[operator.uid] ?? [];
  const own = keyGroupsOfSubtask(subtask, maxParallelism, operator.subtasks);
  return slices.flatMap(({ states }, old) => {
    if (old >= was.subtasks) return [];
    const range = keyGroupsOfSubtask(old, maxParallelism, was.subtasks);
    // What a broadcast join holds of its first input lies where it arrived, not where its keys belong.
    const meets = operator.kind === "broadcastJoin" || (range.first <= own.last && own.first <= range.last);
    return meets ? (states[operator.uid] ?? []) : [];
  });
}

function writerOf({ slices }: CheckpointManifest, uid: string, subtask: number, isSpread: boolean): unknown {
  const states = slices.flatMap(({ writers }) => (writers[uid] === undefined ? [] : [writers[uid]]));
  const own = slices[subtask]?.writers[uid];
  if (!isSpread || states.length === 0) return own;
  if (states.every((state) => typeof state === "number")) return Math.max(...states);
  const numbers = states.map((state) => (state as { readonly next?: unknown } | null)?.next);
  if (!numbers.every((next) => typeof next === "number")) return own;
  return { ...((own ?? states[0]) as object), next: Math.max(...numbers) };
}

/** By new subtask: its vertices that have ended. An operator that is new has not; a vertex has when all its operators have. */
function finishedVertices(savepoint: SavepointDescription, job: TargetJob): (subtask: number) => SlicePart["finished"] {
  const { slices } = savepoint.manifest;
  const before = new Map(savepoint.operators.map((operator) => [operator.uid, operator]));
  const hadEnded = ({ vertex }: PlacedOperator, subtask: number): boolean => {
    const part = slices[subtask];
    assert(part !== undefined, `a savepoint has a part for subtask ${subtask}`);
    return part.finished === "all" || part.finished.includes(vertex);
  };
  const allHadEnded = (was: PlacedOperator): boolean =>
    Array.from({ length: was.subtasks }, (_, subtask) => hadEnded(was, subtask)).every(Boolean);
  return (subtask) => {
    const running = new Set<string>();
    const vertices = new Set<string>();
    for (const operator of job.operators) {
      if (subtask >= operator.subtasks) continue;
      vertices.add(operator.vertex);
      const was = before.get(operator.uid);
      const ended = was !== undefined && (was.subtasks === operator.subtasks ? hadEnded(was, subtask) : allHadEnded(was));
      if (!ended) running.add(operator.vertex);
    }
    return [...vertices].filter((vertex) => !running.has(vertex));
  };
}

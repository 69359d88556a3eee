/** What a slice has done so far, from the counters of its chains. Cheap enough to be asked for several times a second. */
import type { BadRecord } from "../../dataflow/connector.js";
import type { CheckpointCounts } from "../../wire/checkpoint.js";
import type { Chain } from "./chain.js";
import type { OperatorProgress, SliceProgress } from "./slice.js";
import { MAX_BAD_RECORDS, type SourceTask } from "./source-task.js";
import type { Counters } from "./user-metrics.js";

/** Of one chain: what a checkpoint keeps of its counters. */
export function chainCounts(chain: Chain, badRecords: number): CheckpointCounts {
  const counts: CheckpointCounts = { recordsIn: 0, recordsOut: 0, badRecords, operators: [] };
  for (const { uid, kind, taken, given } of operatorCounts(chain)) {
    counts.operators.push({ uid, kind, in: taken, out: given });
    if (kind === "source") counts.recordsIn += taken;
    if (kind === "sink") counts.recordsOut += taken;
  }
  return counts;
}

function* operatorCounts(chain: Chain) {
  for (const node of chain.nodes) {
    const { uid, kind } = node.spec;
    const taken = chain.counts[node.segment] ?? 0;
    const given =
      kind === "sink" ? taken : [node.main, ...node.sides].reduce((sum, outlet) => sum + (chain.counts[outlet.segment] ?? 0), 0);
    yield { uid, kind, taken, given };
  }
}

export function sliceProgress(
  chains: readonly Chain[],
  sources: readonly SourceTask[],
  sourceUids: readonly string[],
  counters: Counters,
): SliceProgress {
  const operators: Record<string, OperatorProgress> = {};
  let recordsIn = 0;
  let recordsOut = 0;
  for (const chain of chains) {
    for (const { uid, kind, taken, given } of operatorCounts(chain)) {
      operators[uid] = { in: taken, out: given };
      if (kind === "source") recordsIn += taken;
      if (kind === "sink") recordsOut += taken;
    }
  }
  const sourceProgress: Record<string, number> = {};
  const firstBadRecords: (BadRecord & { readonly operator: string })[] = [];
  for (const [index, source] of sources.entries()) {
    const uid = sourceUids[index] ?? "";
    sourceProgress[uid] = (sourceProgress[uid] ?? 0) + source.progress();
    for (const bad of source.firstBadRecords)
      if (firstBadRecords.length < MAX_BAD_RECORDS) firstBadRecords.push({ ...bad, operator: uid });
  }
  const badRecords = sources.reduce((sum, source) => sum + source.badRecords, 0);
  return { recordsIn, recordsOut, badRecords, firstBadRecords, operators, sourceProgress, metrics: counters.snapshot() };
}

/** The progress of several slices together. */
export function mergeProgress(parts: readonly SliceProgress[]): SliceProgress {
  const operators: Record<string, OperatorProgress> = {};
  const sourceProgress: Record<string, number> = {};
  const metrics: Record<string, number> = {};
  for (const part of parts) {
    for (const [uid, counts] of Object.entries(part.operators)) {
      const sum = operators[uid];
      operators[uid] = { in: (sum?.in ?? 0) + counts.in, out: (sum?.out ?? 0) + counts.out };
    }
    for (const [uid, done] of Object.entries(part.sourceProgress)) sourceProgress[uid] = (sourceProgress[uid] ?? 0) + done;
    for (const [name, value] of Object.entries(part.metrics)) metrics[name] = (metrics[name] ?? 0) + value;
  }
  return {
    recordsIn: parts.reduce((sum, part) => sum + part.recordsIn, 0),
    recordsOut: parts.reduce((sum, part) => sum + part.recordsOut, 0),
    badRecords: parts.reduce((sum, part) => sum + part.badRecords, 0),
    firstBadRecords: parts.flatMap((part) => part.firstBadRecords).slice(0, MAX_BAD_RECORDS),
    operators,
    sourceProgress,
    metrics,
  };
}

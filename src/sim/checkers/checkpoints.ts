/**
 * Checkpoints of counting jobs, held against what their plan says that any prefix of the input comes to.
 *
 *   I13 a pointer is durable only when its manifest, its state and its staged output are; ids only grow, and none is used twice; a try goes on
 *       from the newest pointer
 *   I14 the output so far, with the count and the sum of each key, is the fold of exactly the prefix that the checkpoint has read (what is wrong in
 *       the state shows in the records that follow it)
 *   I15 nothing becomes visible that no durable pointer and no decision names; at the end it is what a run without faults writes
 *   I10 what a live pointer names is not removed, and after the end nothing is left
 */
import { utf8Decode } from "../../base/utf8.js";
import { type ApplicationRecord, type CommitManifest, isFinal } from "../../wire/application.js";
import { type CheckpointManifest, type CompletedCheckpoint, checkpointManifest, type StagedBySink } from "../../wire/checkpoint.js";
import { type CountedRecord, type CountingPlan, problemOfOutput, SINK, SOURCE, splitsOf } from "../jobs/counting-job.js";
import type { PartName } from "../jobs/parts-world.js";
import type { Observer } from "../observe.js";
import type { JobPlan } from "../sinks.js";
import { type CheckContext, type Checker, keepsRecords } from "./context.js";

/** What is known of one application. */
interface Known {
  readonly plan: CountingPlan;
  /** Of every pointer that was ever durable, by checkpoint. */
  readonly manifests: Map<number, CheckpointManifest>;
  /** Parts that may become visible. */
  readonly named: Set<string>;
  /** By id, a try whose executors were told of it. */
  readonly ordered: Map<number, string>;
  newest: number;
  nextId: number;
}

export const countingPlanOf = ({ spec }: ApplicationRecord): CountingPlan | undefined =>
  (spec.job?.params as JobPlan | undefined)?.counting;

export const partsOf = (staged: StagedBySink): readonly string[] =>
  (staged[SINK] ?? []).map(({ committable }) => (committable as PartName).part);

/** By its bytes: several checkers look at the same one. */
const parsed = new WeakMap<Uint8Array, CheckpointManifest>();

/** The manifest that a pointer names, as a loss of power would leave it; null: it would be gone. */
export function durableManifest(
  { cluster }: CheckContext,
  applicationId: string,
  { manifest }: CompletedCheckpoint,
): CheckpointManifest | null {
  const bytes = cluster.counting.state.durable(applicationId, manifest.sha256);
  if (bytes === null) return null;
  const known = parsed.get(bytes) ?? checkpointManifest.parse(JSON.parse(utf8Decode(bytes) ?? "null"));
  parsed.set(bytes, known);
  return known;
}

export const checkCheckpoints: Checker = (context) => {
  const applications = new Map<string, Known>();
  const checks = new Checks(context, applications);
  if (!keepsRecords(context)) return {};
  return {
    committed: ({ records }) => {
      for (const seen of records) if (seen.kind === "application" && seen.record !== null) checks.recorded(seen.record);
    },
    ...checks.observer(),
  };
};

class Checks {
  private readonly context: CheckContext;
  private readonly applications: Map<string, Known>;

  constructor(context: CheckContext, applications: Map<string, Known>) {
    this.context = context;
    this.applications = applications;
  }

  observer(): Observer {
    return {
      checkpointOrdered: ({ applicationId, attempt, checkpoint: { id, order } }) => {
        if (order === "begin") this.ordered(applicationId, attempt, id);
      },
      sliceStarted: ({ applicationId, attempt, order: { restore } }) => this.started(applicationId, attempt, restore?.id ?? 0),
      partsCommitted: ({ applicationId, parts, process }) => {
        const known = this.applications.get(applicationId);
        for (const part of parts)
          if (known?.named.has(part) === false)
            this.violate("I15", `${process.id} made part ${part} of ${applicationId} visible, which no durable pointer names`);
      },
      stateRemoved: (applicationId, sha256, process) => {
        const name = this.liveStates(applicationId).get(sha256);
        if (name !== undefined) this.violate("I10", `${process.id} removed ${name}, which a pointer of ${applicationId} names`);
      },
      partRemoved: (applicationId, part, process) => {
        if (this.liveParts(applicationId).has(part))
          this.violate("I10", `${process.id} removed part ${part} of ${applicationId}, which is still to become visible`);
      },
      finished: () => this.finished(),
    };
  }

  recorded(record: ApplicationRecord): void {
    const plan = countingPlanOf(record);
    const { checkpoints } = record;
    if (plan === undefined || checkpoints === undefined) return;
    const known = this.applications.get(record.id) ?? {
      plan,
      manifests: new Map(),
      named: new Set<string>(),
      ordered: new Map(),
      newest: 0,
      nextId: 1,
    };
    this.applications.set(record.id, known);
    const newest = checkpoints.completed.at(-1);
    if ((newest?.id ?? 0) < known.newest)
      this.violate("I13", `${record.id} goes back from checkpoint ${known.newest} to ${newest?.id ?? "none"}`);
    if (checkpoints.nextId < known.nextId)
      this.violate("I13", `the next id of ${record.id} goes back from ${known.nextId} to ${checkpoints.nextId}`);
    known.nextId = checkpoints.nextId;
    if (newest !== undefined && newest.id > known.newest) {
      known.newest = newest.id;
      this.completed(record.id, known, newest);
    }
    if (record.commit !== null) this.decided(known, record.commit);
  }

  /** A pointer has become durable. */
  private completed(applicationId: string, known: Known, pointer: CompletedCheckpoint): void {
    const { state, parts } = this.context.cluster.counting;
    const manifest = durableManifest(this.context, applicationId, pointer);
    const what = `checkpoint ${pointer.id} of ${applicationId}`;
    if (manifest === null) {
      this.violate("I13", `the pointer of ${what} is durable and its manifest is not`);
      return;
    }
    known.manifests.set(pointer.id, manifest);
    const lost = handlesOf(manifest).find((sha256) => state.durable(applicationId, sha256) === null);
    if (lost !== undefined) this.violate("I13", `the pointer of ${what} is durable and its state ${lost.slice(0, 8)} is not`);
    for (const part of partsOf(manifest.commit)) known.named.add(part);
    const hidden: CountedRecord[] = [];
    for (const part of new Set([...partsOf(manifest.commit), ...partsOf(manifest.carried)])) {
      const records = parts.recordsOf(applicationId, part);
      if (records === null) this.violate("I13", `the pointer of ${what} names part ${part}, which is not there`);
      else if (!parts.isVisible(applicationId, part)) hidden.push(...records);
    }
    const output = [...parts.shownRecords(applicationId), ...hidden];
    const problem = problemOfOutput(known.plan, readBy(known.plan, manifest), output);
    if (problem !== null) this.violate("I14", `the output of ${what} is not that of what it has read: ${problem}`);
  }

  private decided(known: Known, commit: CommitManifest): void {
    for (const committable of commit.sinks[SINK] ?? []) if (committable !== null) known.named.add((committable as PartName).part);
    const carried = commit.checkpoint === undefined ? undefined : known.manifests.get(commit.checkpoint);
    for (const part of partsOf(carried?.carried ?? {})) known.named.add(part);
  }

  private ordered(applicationId: string, attempt: string, id: number): void {
    const known = this.applications.get(applicationId);
    if (known === undefined) return;
    const other = known.ordered.get(id) ?? attempt;
    known.ordered.set(id, attempt);
    // Slices that restart alone are of different tries of one driver.
    const nameOf = (name: string): string | undefined => (known.plan.apart === true ? name.split(".")[0] : name);
    if (nameOf(other) !== nameOf(attempt))
      this.violate("I13", `checkpoint ${id} of ${applicationId} is one of try ${other} and one of try ${attempt}`);
    if (id >= known.nextId)
      this.violate("I13", `checkpoint ${id} of ${applicationId} began, and only ids below ${known.nextId} are reserved`);
  }

  private started(applicationId: string, attempt: string, from: number): void {
    const known = this.applications.get(applicationId);
    const current = this.context.history.applications.get(applicationId)?.attempt;
    // Others are superseded, and may not know it.
    if (known === undefined || Number(attempt.split(".")[0]) !== current) return;
    if (from !== known.newest)
      this.violate("I13", `try ${attempt} of ${applicationId} goes on from checkpoint ${from}, and ${known.newest} is the newest`);
  }

  private liveStates(applicationId: string): ReadonlyMap<string, string> {
    const live = new Map<string, string>();
    for (const pointer of this.livePointers(applicationId)) {
      live.set(pointer.manifest.sha256, `the manifest of checkpoint ${pointer.id}`);
      const manifest = this.applications.get(applicationId)?.manifests.get(pointer.id);
      for (const sha256 of manifest === undefined ? [] : handlesOf(manifest)) live.set(sha256, `state of checkpoint ${pointer.id}`);
    }
    return live;
  }

  private livePointers(applicationId: string): readonly CompletedCheckpoint[] {
    const record = this.context.history.applications.get(applicationId);
    return record === undefined || isOver(record) ? [] : (record.checkpoints?.completed ?? []);
  }

  /** To be made visible by what is durable now. */
  private liveParts(applicationId: string): ReadonlySet<string> {
    const known = this.applications.get(applicationId);
    const record = this.context.history.applications.get(applicationId);
    if (known === undefined || record === undefined || isOver(record)) return new Set();
    const newest = known.manifests.get(known.newest);
    const decided = (record.commit?.sinks[SINK] ?? []).flatMap((one) => (one === null ? [] : [(one as PartName).part]));
    const all = [...decided, ...partsOf(newest?.commit ?? {}), ...partsOf(newest?.carried ?? {})];
    return new Set(all.filter((part) => !this.context.cluster.counting.parts.isVisible(applicationId, part)));
  }

  private finished(): void {
    const { state, parts } = this.context.cluster.counting;
    for (const [id, { plan }] of this.applications) {
      if (this.context.history.applications.get(id)?.state === "parked") continue;
      if (state.blobsOf(id) > 0) this.violate("I10", `${id} is over, and ${state.blobsOf(id)} blobs of its state are left`);
      const record = this.context.history.applications.get(id);
      const staged = parts.stagedParts(id);
      if (staged.length > 0 && record !== undefined && record.leftovers === undefined)
        this.violate("I10", `${id} is ${record.state}, and its parts ${staged.join(", ")} are still staged`);
      if (record?.state !== "finished") continue;
      const all = new Set(Array.from({ length: plan.records }, (_, n) => n));
      const problem = problemOfOutput(plan, all, parts.shownRecords(id));
      if (problem !== null)
        this.violate("I15", `${id} is finished, and its output is not that of a run without faults: ${problem}`);
    }
  }

  private violate(invariant: string, message: string): void {
    this.context.violate(invariant, message);
  }
}

const handlesOf = ({ slices }: CheckpointManifest): readonly string[] =>
  slices.flatMap(({ states }) => Object.values(states).flat()).map(({ sha256 }) => sha256);

/** Nothing goes on from its checkpoints any more: a cancel that came before the decision is never taken back. */
const isOver = ({ state, cancelRequested, commit }: ApplicationRecord): boolean =>
  isFinal(state) || (cancelRequested && commit === null);

/** The numbers that the sources had given out. */
function readBy(plan: CountingPlan, { sources }: CheckpointManifest): ReadonlySet<number> {
  const read = new Set(Array.from({ length: plan.records }, (_, n) => n));
  for (const { split, position } of sources[SOURCE]?.remaining ?? []) {
    const range = splitsOf(plan).find(({ id }) => id === split.id);
    for (let n = Number(position ?? range?.from); n < Number(range?.to); n += 1) read.delete(n);
  }
  return read;
}

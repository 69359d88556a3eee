/**
 * What counting jobs run on: their storage, their source and sink, the channels between their executors, and slices on the product's engine (as
 * cli/runner/ does it for real ones).
 */
import { CodedError } from "../../base/errors.js";
import type { StateStore } from "../../env/blob-store.js";
import type { Env } from "../../env/env.js";
import type { SliceOrder } from "../../executor/core/executor-events.js";
import { createPortableTextCodec } from "../../executor/run/codec/index.js";
import type { ExchangeNetwork } from "../../executor/run/network.js";
import { runSlice } from "../../executor/run/run-slice.js";
import type { RunningSlice, SliceCheckpointing } from "../../executor/run/slice.js";
import { readManifest } from "../../host/job/driver-checkpoint-work.js";
import type { JobInputs } from "../../host/job/driver-inputs.js";
import type { CheckpointOrder, SliceCalls, StartedSlice } from "../../host/job/executor-host.js";
import type { SlicePart } from "../../wire/checkpoint.js";
import type { Progress } from "../../wire/progress.js";
import { outside } from "../marshal.js";
import type { Mutant } from "../mutants/mutant.js";
import type { CheckpointOrderSeen, SliceStartSeen } from "../observe.js";
import type { SimProcess, World } from "../world.js";
import { ChannelWorld } from "./channels.js";
import { type CountingPlan, planCounting } from "./counting-job.js";
import { type PartsCommitSeen, PartsWorld } from "./parts-world.js";
import { StateWorld } from "./state-world.js";

export interface CountingObserver {
  stateRemoved(applicationId: string, sha256: string, process: SimProcess): void;
  stateLost(count: number): void;
  partsCommitted(seen: PartsCommitSeen): void;
  partRemoved(applicationId: string, part: string, process: SimProcess): void;
  sliceStarted(seen: SliceStartSeen): void;
  checkpointOrdered(seen: CheckpointOrderSeen): void;
}

export interface CountingWorldOptions {
  readonly world: World;
  readonly latency: { readonly minLatencyMs: number; readonly maxLatencyMs: number };
  readonly mutant: Mutant;
  readonly observer: CountingObserver;
}

/** Whose slice or driver it is. */
export interface JobProcess {
  readonly process: SimProcess;
  readonly role: "driver" | "executor";
  readonly applicationId: string;
  readonly plan: CountingPlan;
}

export class CountingWorld {
  readonly state: StateWorld;
  readonly parts: PartsWorld;
  private readonly channels: ChannelWorld;
  private readonly options: CountingWorldOptions;

  constructor(options: CountingWorldOptions) {
    const { world, latency, observer } = options;
    this.options = options;
    this.state = new StateWorld({
      world,
      removed: (applicationId, sha256, process) => observer.stateRemoved(applicationId, sha256, process),
      lost: (count) => observer.stateLost(count),
    });
    this.parts = new PartsWorld({
      world,
      committed: (seen) => observer.partsCommitted(seen),
      removed: (applicationId, part, process) => observer.partRemoved(applicationId, part, process),
    });
    this.channels = new ChannelWorld(world, latency);
  }

  openState(of: JobProcess): () => Promise<StateStore> {
    return async () => this.options.mutant.state(this.state.store(of.process, of.applicationId), of);
  }

  inputs(of: JobProcess, parallelism: number, commits: { readonly failShare: number; readonly ms: number }): JobInputs {
    const { sources, sinks } = this.parts.inputs(of.process, of.applicationId, parallelism, of.plan, commits);
    const changed = [...sinks].map(
      ([uid, sink]) => [uid, { ...sink, connector: this.options.mutant.sink(sink.connector, of) }] as const,
    );
    return { sources, sinks: new Map(changed) };
  }

  startSlice(of: JobProcess, env: Env, attempt: string, order: SliceOrder, calls: SliceCalls): StartedSlice {
    const { observer, mutant } = this.options;
    const { process, applicationId } = of;
    observer.sliceStarted({ applicationId, attempt, order, process });
    const network = mutant.network(this.channels.open(process, `${applicationId} ${attempt}`), of);
    const slice = startedSlice(this.begin(of, env, attempt, order, calls, network), network);
    return {
      ...slice,
      checkpoint: (checkpoint) => {
        observer.checkpointOrdered({ applicationId, attempt, checkpoint, process });
        slice.checkpoint(checkpoint);
      },
    };
  }

  private async begin(
    of: JobProcess,
    env: Env,
    attempt: string,
    order: SliceOrder,
    calls: SliceCalls,
    network: ExchangeNetwork,
  ): Promise<RunningSlice> {
    const { mutant, world } = this.options;
    const { process, applicationId, plan } = of;
    const { built } = await planCounting(plan);
    const checkpoints = await this.checkpointing(of, order, calls);
    return runSlice({
      built,
      applicationId,
      attempt,
      subtask: order.subtask,
      parallelism: order.parallelism,
      splits: {
        next: (source, signal) => calls.nextSplit(source, signal),
        readers: (source) => calls.readers(source),
        hasMore: (source) => calls.hasMore(source),
      },
      network,
      connectors: {
        source: () => mutant.source(this.parts.source(process, plan), of),
        sink: () => mutant.sink(this.parts.sink(process, applicationId, plan), of),
      },
      clock: env.clock,
      log: env.log,
      yieldToLoop: () => outside(world, process, "turn", 0, () => {}),
      ...(checkpoints === null ? {} : { checkpoints }),
    });
  }

  private async checkpointing(of: JobProcess, order: SliceOrder, calls: SliceCalls): Promise<SliceCheckpointing | null> {
    if (order.storage === undefined) return null;
    const blobs = await this.openState(of)();
    return {
      blobs,
      text: createPortableTextCodec(),
      restored: await restoredPart(blobs, of.applicationId, order),
      onCheckpointed: (id, outcome) => calls.checkpointed(id, outcome),
      // It collects nothing.
      asJson: () => [],
    };
  }
}

async function restoredPart(blobs: StateStore, applicationId: string, { restore, subtask }: SliceOrder): Promise<SlicePart | null> {
  if (restore === undefined) return null;
  const { slices } = await readManifest(blobs, restore, applicationId);
  const part = slices[subtask];
  if (part === undefined) throw new CodedError("CHECKPOINT_UNREADABLE", `there is no part for executor ${subtask}`);
  return part;
}

/** Until it has begun it has done nothing, and can be cancelled. */
function startedSlice(beginning: Promise<RunningSlice>, network: ExchangeNetwork): Required<StartedSlice> {
  let started: RunningSlice | null = null;
  let cancelled: CodedError | null = null;
  let waiting: CheckpointOrder | null = null;
  const run = async (): Promise<Awaited<StartedSlice["done"]>> => {
    try {
      const slice = await beginning;
      started = slice;
      if (waiting !== null) slice.checkpoint(waiting);
      if (cancelled !== null) await slice.cancel(cancelled);
      const { committables, progress } = await slice.done;
      await network.close();
      return { committables, progress: progressOf(progress) };
    } catch (thrown) {
      const error = cancelled ?? CodedError.from(thrown);
      await network.close(error);
      throw error;
    }
  };
  const done = run();
  done.catch(() => {});
  return {
    done,
    progress: () => progressOf(started?.progress() ?? { recordsIn: 0, recordsOut: 0 }),
    checkpoint: (order) => {
      if (started === null) waiting = order;
      else started.checkpoint(order);
    },
    cancel: async (reason) => {
      cancelled ??= reason;
      await started?.cancel(reason);
      await network.close(reason);
      await done.catch(() => {});
    },
  };
}

export const progressOf = ({ recordsIn, recordsOut }: { readonly recordsIn: number; readonly recordsOut: number }): Progress => ({
  recordsIn,
  recordsOut,
  badRecords: 0,
  totalRecords: null,
  operators: [],
  firstBadRecords: [],
  jobRestarts: 0,
  lastRestartReason: null,
  phase: "running",
});

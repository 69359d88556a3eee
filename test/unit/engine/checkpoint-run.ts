/**
 * A job with checkpoints, run to its end through crashes: slices in this process, and of a driver only what they need.
 * Each crash throws everything away that is not in the last complete checkpoint.
 */
import { createHash } from "node:crypto";
import { type JobBuilder, planJob } from "../../../src/api/index.js";
import { CodedError } from "../../../src/base/errors.js";
import type { JsonValue } from "../../../src/base/json.js";
import { createSource } from "../../../src/connectors/index.js";
import type { SinkConnector } from "../../../src/dataflow/connector.js";
import type { ScratchStores } from "../../../src/env/scratch-store.js";
import { sourceConnectorOf } from "../../../src/executor/run/connectors-of.js";
import { createLocalNetwork } from "../../../src/executor/run/local-network.js";
import type { ExchangeNetwork } from "../../../src/executor/run/network.js";
import { runSlice } from "../../../src/executor/run/run-slice.js";
import type { RunningSlice, StateBlobs } from "../../../src/executor/run/slice.js";
import { leastWatermarks } from "../../../src/job/least-watermarks.js";
import { SplitAssignment } from "../../../src/job/splits.js";
import { createNodeClock } from "../../../src/node/clock.js";
import { createNodeTextCodec } from "../../../src/node/text-codec.js";
import { createLogicalClock } from "../../../src/testing/logical-clock.js";
import type { SlicePart, SliceSnapshot, StateHandle } from "../../../src/wire/checkpoint.js";
import { jobOf } from "./support.js";

const sha256Hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

export class MemoryBlobs implements StateBlobs {
  readonly blobs = new Map<string, Uint8Array>();
  failing = false;

  async put(bytes: Uint8Array): Promise<StateHandle> {
    if (this.failing) throw new CodedError("DISK_FAILED", "the disk is full");
    const sha256 = sha256Hex(bytes);
    this.blobs.set(sha256, bytes);
    return { sha256, sizeBytes: bytes.length };
  }

  async get({ sha256 }: StateHandle): Promise<Uint8Array> {
    const bytes = this.blobs.get(sha256);
    if (bytes === undefined) throw new CodedError("CHECKPOINT_UNREADABLE", `the state ${sha256} is not there`);
    return bytes;
  }
}

/** Parts are arrays of records, as JSON. */
function memorySink(): SinkConnector<unknown> {
  return {
    appears: "at-end",
    open: async ({ subtask, restored }) => {
      let number = (restored as number | undefined) ?? 0;
      let records: JsonValue[] = [];
      const close = (): JsonValue[] => {
        const part = records;
        records = [];
        return part.length === 0 ? [] : [{ part: `${subtask}-${number++}`, records: part }];
      };
      return {
        write: (batch, count) => void records.push(...(JSON.parse(JSON.stringify(batch.slice(0, count))) as JsonValue[])),
        checkpoint: async () => ({ committables: close(), state: number }),
        prepare: async () => null,
        abort: async () => undefined,
        close: async () => undefined,
      };
    },
    commit: async () => undefined,
    cleanUp: async () => undefined,
  };
}

interface Stored {
  readonly slices: readonly SlicePart[];
  readonly sources: ReturnType<SplitAssignment["remaining"]>;
  readonly committables: readonly JsonValue[];
  readonly recordsIn: number;
}

export interface CrashPlan {
  readonly parallelism: number;
  /** In each try a checkpoint begins when so many records have passed `tick`; when it is complete, the try crashes. Then one without. */
  readonly checkpointsAt: readonly number[];
  /** The crash comes when so many further records have passed. */
  readonly crashAfter?: number;
  /** Further checkpoints in each try, each so many records after the last one was over; the crash comes after the last. */
  readonly more?: readonly number[];
  /** Of the checkpoints of a try, in order, from 0: this one is given up when all have answered. */
  readonly givesUp?: (index: number) => boolean;
  readonly creditsPerChannel?: number;
  readonly network?: (network: ExchangeNetwork) => ExchangeNetwork;
  readonly blobs?: MemoryBlobs;
  /** Where the slices of a try keep their state; called for each. */
  readonly scratch?: () => ScratchStores;
  /** A slice says that it can't take part in the checkpoint: all are told that it is over, and go on. Without it the try ends. */
  readonly onRefused?: (error: CodedError) => void;
}

export interface CrashRun {
  /** Of the sink `out`, in the order of its parts. */
  readonly records: readonly unknown[];
  readonly completed: number;
  /** Records that the last try read. */
  readonly lastRecordsIn: number;
  readonly recordsAtLastCheckpoint: number;
  /** Blobs of the state of the executor that has most of them. */
  readonly handlesAtLastCheckpoint: number;
}

/** `build` calls `tick` for each record that it takes for the trigger. */
export async function runThroughCrashes(build: (job: JobBuilder, tick: () => void) => void, plan: CrashPlan): Promise<CrashRun> {
  const blobs = plan.blobs ?? new MemoryBlobs();
  let stored: Stored | null = null;
  let completed = 0;
  for (let number = 1; ; number++) {
    const at = plan.checkpointsAt[number - 1];
    const outcome = await oneTry(build, { ...plan, number, at: at ?? null, stored, blobs });
    if (outcome.kind === "crashed") {
      stored = outcome.stored ?? stored;
      completed += outcome.completed;
      continue;
    }
    completed += outcome.completed;
    const held = (outcome.stored ?? stored)?.committables ?? [];
    const parts = eachOnce([...held, ...outcome.committables]) as { part: string; records: unknown[] }[];
    return {
      records: parts.flatMap(({ records }) => records),
      completed,
      lastRecordsIn: outcome.recordsIn,
      recordsAtLastCheckpoint: stored?.recordsIn ?? 0,
      handlesAtLastCheckpoint: Math.max(0, ...(stored?.slices ?? []).map(({ states }) => Object.values(states).flat().length)),
    };
  }
}

type TryOutcome =
  | { readonly kind: "crashed"; readonly stored: Stored | null; readonly completed: number }
  | {
      readonly kind: "done";
      readonly stored: Stored | null;
      readonly completed: number;
      readonly committables: readonly JsonValue[];
      readonly recordsIn: number;
    };

interface TryPlan extends CrashPlan {
  readonly number: number;
  readonly at: number | null;
  readonly stored: Stored | null;
  readonly blobs: MemoryBlobs;
}

async function oneTry(build: (job: JobBuilder, tick: () => void) => void, plan: TryPlan): Promise<TryOutcome> {
  let ticks = 0;
  let crashAt: number | null = null;
  let nextAt = plan.at;
  /** Of the try, from 0. */
  let index = 0;
  let completedId = 0;
  const idOf = (one: number) => plan.number * 100 + one;
  let act: () => void = () => undefined;
  const tick = () => {
    ticks++;
    if ((nextAt !== null && ticks >= nextAt) || (crashAt !== null && ticks >= crashAt)) act();
  };
  const { built } = await planJob(
    jobOf((job) => build(job, tick)),
    {},
    { sha256Hex },
  );
  const splits = await splitsOf(built, plan);
  const network = createLocalNetwork(plan.creditsPerChannel === undefined ? {} : { creditsPerChannel: plan.creditsPerChannel });
  const pacing = createLogicalClock();
  const answers = new Map<number, SliceSnapshot>();
  const crash = new CodedError("EXECUTOR_LOST", "the crash of the test");
  const slices: RunningSlice[] = [];
  let stored: Stored | null = null;
  let completed = 0;
  const stop = () => {
    for (const slice of slices) void slice.cancel(crash);
  };
  const refused = (error: CodedError) => {
    if (plan.onRefused === undefined) return stop();
    plan.onRefused(error);
    for (const slice of slices) slice.checkpoint({ id: idOf(index), order: "abort", completed: completedId });
  };
  act = () => {
    if (crashAt !== null) return stop();
    nextAt = null;
    answers.clear();
    for (const slice of slices) slice.checkpoint({ id: idOf(index), order: "begin", completed: completedId });
  };
  /** All have answered. */
  const over = () => {
    if (plan.givesUp?.(index) === true) {
      for (const slice of slices) slice.checkpoint({ id: idOf(index), order: "abort", completed: completedId });
    } else {
      stored = storedOf(plan, answers, splits, stored ?? plan.stored);
      completedId = idOf(index);
      completed++;
    }
    const wait = plan.more?.[index++];
    if (wait !== undefined) nextAt = ticks + wait;
    else {
      crashAt = ticks + (plan.crashAfter ?? 0);
      if (plan.crashAfter === undefined) stop();
    }
  };
  for (let subtask = 0; subtask < plan.parallelism; subtask++) {
    let ask = 0;
    slices.push(
      runSlice({
        built,
        applicationId: "app-1-1",
        attempt: `1.${plan.number}`,
        subtask,
        parallelism: plan.parallelism,
        splits: {
          next: async (uid) => {
            const { split, position } = splits.answer(uid, String(subtask), ++ask) ?? { split: null, position: null };
            return split === null ? null : { split, position };
          },
          hasMore: (uid) => splits.hasMore(uid),
        },
        network: plan.network?.(network) ?? network,
        connectors: { source: (descriptor) => createSource(descriptor), sink: memorySink },
        clock: createNodeClock(),
        pacing,
        log: { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined },
        yieldToLoop: () => new Promise((resolve) => setImmediate(resolve)),
        ...(plan.scratch === undefined ? {} : { scratch: plan.scratch() }),
        checkpoints: {
          blobs: plan.blobs,
          text: createNodeTextCodec(),
          asJson: (_sink, records) => JSON.parse(JSON.stringify(records)) as JsonValue[],
          restored: plan.stored?.slices[subtask] ?? null,
          onCheckpointed: (_id, snapshot) => {
            if (snapshot instanceof CodedError) return refused(snapshot);
            answers.set(subtask, JSON.parse(JSON.stringify(snapshot)) as SliceSnapshot);
            if (answers.size === plan.parallelism) over();
          },
        },
      }),
    );
  }
  const outcomes = await Promise.allSettled(slices.map((slice) => slice.done));
  const failed = outcomes.find((outcome) => outcome.status === "rejected");
  if (failed !== undefined) {
    await Promise.allSettled(slices.map((slice) => slice.cancel(crash)));
    if (plan.at === null || (failed.reason as CodedError).message !== crash.message) throw failed.reason;
    return { kind: "crashed", stored, completed };
  }
  const results = outcomes.flatMap((outcome) => (outcome.status === "fulfilled" ? [outcome.value] : []));
  return {
    kind: "done",
    stored,
    completed,
    committables: results.flatMap(({ committables }) => committables.out ?? []),
    recordsIn: results.reduce((sum, { progress }) => sum + progress.recordsIn, 0),
  };
}

async function splitsOf(built: Awaited<ReturnType<typeof planJob>>["built"], plan: TryPlan): Promise<SplitAssignment> {
  const sources = built.graph.operators.filter(({ kind }) => kind === "source");
  return new SplitAssignment(
    await Promise.all(
      sources.map(async ({ uid }) => {
        const source = sourceConnectorOf(built, uid, { source: createSource });
        const isEndless = !source.bounded;
        const left = plan.stored?.sources.get(uid);
        if (left !== undefined) {
          const positions = left.splits.flatMap(({ split, position }) =>
            position === null ? [] : [[split.id, position] as const],
          );
          return { uid, ...left, isEndless, splits: left.splits.map(({ split }) => split), positions: new Map(positions) };
        }
        const { splits } = await source.enumerate({ parallelism: plan.parallelism, signal: new AbortController().signal });
        return { uid, subtasks: plan.parallelism, splits, totalRecords: null, isEndless };
      }),
    ),
  );
}

/** What a driver puts into the manifest; committables are told again until a checkpoint that held them is known to be complete, and count once. */
function storedOf(
  plan: TryPlan,
  answers: ReadonlyMap<number, SliceSnapshot>,
  splits: SplitAssignment,
  before: Stored | null,
): Stored {
  const parts = Array.from({ length: plan.parallelism }, (_, subtask) => answers.get(subtask));
  const watermarks = leastWatermarks(parts.flatMap((part) => part ?? []));
  return {
    slices: parts.map((part) => (part === undefined ? { finished: "all", states: {}, writers: {} } : { ...part, watermarks })),
    sources: splits.remaining((source, subtask) => {
      const mark = answers.get(Number(subtask))?.sources[source];
      const reading = (mark?.reading ?? []).map(({ nth, position }) => ({ nth, position: (position ?? null) as JsonValue }));
      return mark === undefined ? undefined : { taken: mark.taken, reading };
    }),
    committables: eachOnce([
      ...(before?.committables ?? []),
      ...parts.flatMap((part) => (part?.committables.out ?? []) as JsonValue[]),
    ]),
    recordsIn: (plan.stored?.recordsIn ?? 0) + parts.reduce((sum, part) => sum + (part?.counts.recordsIn ?? 0), 0),
  };
}

function eachOnce(committables: readonly JsonValue[]): JsonValue[] {
  return [...new Map(committables.map((one) => [JSON.stringify(one), one])).values()];
}

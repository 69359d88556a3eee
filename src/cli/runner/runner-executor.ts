/** The runner as an executor: loads the job, listens for the exchanges of its neighbours, and follows its driver's orders. */
import path from "node:path";
import { hexToBytes } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import { jsonText } from "../../connectors/json-text.js";
import type { JobGraph } from "../../dataflow/graph.js";
import type { StateStore } from "../../env/blob-store.js";
import type { Env } from "../../env/env.js";
import type { Log } from "../../env/log.js";
import type { SliceOrder } from "../../executor/core/executor-events.js";
import type { ExchangeNetwork } from "../../executor/run/network.js";
import { runSlice } from "../../executor/run/run-slice.js";
import type { RunningSlice, SliceCheckpointing, SliceProgress } from "../../executor/run/slice.js";
import { readManifest } from "../../host/job/driver-checkpoint-work.js";
import {
  type CheckpointOrder,
  type RunningExecutor,
  type SliceCalls,
  type StartedSlice,
  startExecutor,
} from "../../host/job/executor-host.js";
import { resultTooLarge } from "../../job/collected.js";
import { attemptName } from "../../job/driver-events.js";
import { createScratchStores } from "../../node/level-store/scratch-store.js";
import { createNodeTextCodec } from "../../node/text-codec.js";
import { MAX_RESULT_BYTES } from "../../wire/application.js";
import type { SlicePart } from "../../wire/checkpoint.js";
import { parseProcessId } from "../../wire/ids.js";
import type { Progress } from "../../wire/progress.js";
import type { DriverPlace, RunnerStart } from "../../wire/runner-start.js";
import { openExchanges } from "./runner-exchange.js";
import { connectorsOf, type LoadedJob, loadJob, stateOpener } from "./runner-job.js";

export interface ExecutorHooks {
  /** Where `ctx.log` of user code goes. */
  readonly userLog: Log;
  /** Where its driver is by now, as its worker has noted it. */
  readonly successor?: () => Promise<DriverPlace | null>;
  /** Told as soon as the executor runs: the signals of the process go to it. */
  readonly onStarted: (executor: RunningExecutor) => void;
}

export async function runExecutor(start: RunnerStart, env: Env, hooks: ExecutorHooks): Promise<number> {
  const { application, processId, driverAddress } = start;
  if (driverAddress === null)
    throw new CodedError("INVALID_ARGUMENT", `executor ${processId} was started without the address of its driver`);
  const attempt = parseProcessId(processId)?.attempt ?? application.attempt;
  const loaded = await loadJob(application, start.artifactPath);
  const exchanges = await openExchanges(start, env);
  const openState = stateOpener(application);
  const executor = startExecutor({
    env,
    applicationId: application.id,
    applicationKey: hexToBytes(start.applicationKey),
    processId,
    pid: process.pid,
    driverAddress,
    dataAddress: exchanges.address,
    graphHash: loaded.built.graph.hash,
    ...(hooks.successor === undefined ? {} : { successor: hooks.successor }),
    startSlice: (order, calls) => {
      const name = order.name ?? attemptName(attempt, order.try);
      return startSlice({
        loaded,
        start,
        env,
        hooks,
        order,
        calls,
        network: exchanges.open(name, order),
        attempt: name,
        openState,
      });
    },
  });
  hooks.onStarted(executor);
  const { exitCode, reason } = await executor.ended;
  env.log.info(`the executor ends: ${reason}`, { app: application.id });
  await exchanges.close();
  return exitCode;
}

interface SliceParts {
  readonly loaded: LoadedJob;
  readonly start: RunnerStart;
  readonly env: Env;
  readonly hooks: ExecutorHooks;
  readonly order: SliceOrder;
  readonly calls: SliceCalls;
  readonly network: ExchangeNetwork;
  readonly attempt: string;
  readonly openState: (storage: string) => Promise<StateStore>;
}

/** In the directory that the worker made for this process, and removes with it. Taken before user code can go elsewhere. */
const SCRATCH_DIRECTORY = path.resolve("scratch");

const yieldToLoop = () => new Promise<void>((resolve) => setImmediate(resolve));

/** A slice with checkpoints begins when its storage is open and its part of the checkpoint that it goes on from is read. */
function startSlice(parts: SliceParts): StartedSlice {
  const { graph } = parts.loaded.built;
  const begin = (checkpoints?: SliceCheckpointing) => beginSlice(parts, checkpoints);
  return parts.order.storage === undefined
    ? startedSlice(begin(), parts.network, graph)
    : deferredSlice(checkpointingOf(parts, parts.order.storage).then(begin), parts.network, graph);
}

function beginSlice(parts: SliceParts, checkpoints?: SliceCheckpointing): RunningSlice {
  const { loaded, start, env, hooks, order, calls, network, attempt } = parts;
  return runSlice({
    built: loaded.built,
    applicationId: start.application.id,
    attempt,
    subtask: order.subtask,
    parallelism: order.parallelism,
    splits: {
      next: (source, signal) => calls.nextSplit(source, signal),
      readers: (source) => calls.readers(source),
      hasMore: (source) => calls.hasMore(source),
    },
    network,
    connectors: connectorsOf(loaded),
    clock: env.clock,
    log: hooks.userLog,
    yieldToLoop,
    onCollect: (sink, records) => calls.collect(sink, asJson(sink, records)),
    ...(checkpoints === undefined ? {} : { checkpoints }),
    ...(loaded.state === "disk" ? { scratch: createScratchStores(path.join(SCRATCH_DIRECTORY, attempt)) } : {}),
  });
}

/** Rejects with CHECKPOINT_STORAGE, CHECKPOINT_UNREADABLE or DISK_FAILED. */
async function checkpointingOf({ openState, start, order, calls }: SliceParts, storage: string): Promise<SliceCheckpointing> {
  const blobs = await openState(storage);
  const restored = order.restore === undefined ? null : await restoredPart(blobs, start.application.id, order);
  return {
    blobs,
    text: createNodeTextCodec(),
    restored,
    onCheckpointed: (id, outcome) => calls.checkpointed(id, outcome),
    asJson: jsonWithinResult(),
  };
}

async function restoredPart(blobs: StateStore, applicationId: string, { restore, subtask }: SliceOrder): Promise<SlicePart | null> {
  if (restore === undefined) return null;
  const { slices } = await readManifest(blobs, restore, applicationId);
  const part = slices[subtask];
  if (part === undefined)
    throw new CodedError(
      "CHECKPOINT_UNREADABLE",
      `Checkpoint ${restore.id} of ${applicationId} has no part for executor ${subtask}.`,
    );
  return part;
}

/** One that begins later: until then it has done nothing, and can be cancelled. */
function deferredSlice(beginning: Promise<RunningSlice>, network: ExchangeNetwork, graph: JobGraph): StartedSlice {
  let started: StartedSlice | null = null;
  let cancelled: CodedError | null = null;
  let waiting: CheckpointOrder | null = null;
  const done = beginning.then(
    async (slice) => {
      started = startedSlice(slice, network, graph);
      if (waiting !== null) started.checkpoint?.(waiting);
      if (cancelled !== null) await started.cancel(cancelled);
      return await started.done;
    },
    async (thrown: unknown) => {
      const error = cancelled ?? CodedError.from(thrown);
      await network.close(error);
      throw error;
    },
  );
  return {
    done,
    progress: () => started?.progress() ?? wireProgress(NO_PROGRESS, graph),
    checkpoint: (order) => {
      if (started === null) waiting = order;
      else started.checkpoint?.(order);
    },
    cancel: async (reason) => {
      cancelled ??= reason;
      await started?.cancel(reason);
      await done.catch(() => undefined);
    },
  };
}

const NO_PROGRESS: SliceProgress = {
  recordsIn: 0,
  recordsOut: 0,
  badRecords: 0,
  firstBadRecords: [],
  operators: {},
  sourceProgress: {},
  metrics: {},
};

function startedSlice(slice: RunningSlice, network: ExchangeNetwork, graph: JobGraph): StartedSlice {
  const done = slice.done.then(
    async ({ committables, progress }) => {
      // Done is who has handed everything to its neighbours: its process may then go.
      await network.close();
      return { committables, progress: wireProgress(progress, graph) };
    },
    async (thrown: unknown) => {
      await network.close(CodedError.from(thrown));
      throw thrown;
    },
  );
  return {
    done,
    progress: () => wireProgress(slice.progress(), graph),
    checkpoint: (order) => slice.checkpoint(order),
    cancel: async (reason) => {
      await slice.cancel(reason);
      await network.close(reason);
      await done.catch(() => undefined);
    },
  };
}

/** Collected records travel as JSON, and all of them together have to fit into the result of the job. */
function asJson(sink: string, records: readonly unknown[]): readonly unknown[] {
  return jsonWithinResult()(sink, records);
}

/** The same for all that one slice collects: nothing else bounds what it stages. */
function jsonWithinResult(): SliceCheckpointing["asJson"] {
  let bytes = 0;
  return (sink, records) => {
    const text = jsonText(records);
    bytes += text.length;
    if (bytes > MAX_RESULT_BYTES) throw resultTooLarge(sink);
    return JSON.parse(text) as JsonValue[];
  };
}

function wireProgress(progress: SliceProgress, graph: JobGraph): Progress {
  const { recordsIn, recordsOut, badRecords } = progress;
  return {
    recordsIn,
    recordsOut,
    badRecords,
    totalRecords: null,
    operators: graph.operators.flatMap(({ uid, kind }) => {
      const counts = progress.operators[uid];
      return counts === undefined ? [] : [{ uid, kind, in: counts.in, out: counts.out }];
    }),
    firstBadRecords: progress.firstBadRecords.slice(0, 10).map((bad) => ({
      uid: bad.operator,
      file: bad.source,
      line: bad.line,
      offset: bad.byteOffset,
      reason: bad.reason,
    })),
    jobRestarts: 0,
    lastRestartReason: null,
    phase: "running",
  };
}

/** The runner as an executor: loads the job, listens for the exchanges of its neighbours, and follows its driver's orders. */
import { hexToBytes } from "../../base/bytes.js";
import { CodedError } from "../../base/errors.js";
import { jsonText } from "../../connectors/json-text.js";
import type { JobGraph } from "../../dataflow/graph.js";
import type { Env } from "../../env/env.js";
import type { Log } from "../../env/log.js";
import type { SliceOrder } from "../../executor/core/executor-events.js";
import type { ExchangeNetwork } from "../../executor/run/network.js";
import { runSlice } from "../../executor/run/run-slice.js";
import type { SliceProgress } from "../../executor/run/slice.js";
import { type RunningExecutor, type SliceCalls, type StartedSlice, startExecutor } from "../../host/job/executor-host.js";
import { resultTooLarge } from "../../job/collected.js";
import { attemptName } from "../../job/driver-events.js";
import { MAX_RESULT_BYTES } from "../../wire/application.js";
import { parseProcessId } from "../../wire/ids.js";
import type { Progress } from "../../wire/progress.js";
import type { RunnerStart } from "../../wire/runner-start.js";
import { openExchanges } from "./runner-exchange.js";
import { connectorsOf, type LoadedJob, loadJob } from "./runner-job.js";

export interface ExecutorHooks {
  /** Where `ctx.log` of user code goes. */
  readonly userLog: Log;
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
  const executor = startExecutor({
    env,
    applicationId: application.id,
    applicationKey: hexToBytes(start.applicationKey),
    processId,
    pid: process.pid,
    driverAddress,
    dataAddress: exchanges.address,
    graphHash: loaded.built.graph.hash,
    startSlice: (order, calls) => {
      const name = attemptName(attempt, order.try);
      return startSlice({ loaded, start, env, hooks, order, calls, network: exchanges.open(name, order), attempt: name });
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
}

const yieldToLoop = () => new Promise<void>((resolve) => setImmediate(resolve));

function startSlice({ loaded, start, env, hooks, order, calls, network, attempt }: SliceParts): StartedSlice {
  const { graph } = loaded.built;
  const slice = runSlice({
    built: loaded.built,
    applicationId: start.application.id,
    attempt,
    subtask: order.subtask,
    parallelism: order.parallelism,
    splits: { next: (source, signal) => calls.nextSplit(source, signal), readers: (source) => calls.readers(source) },
    network,
    connectors: connectorsOf(loaded),
    clock: env.clock,
    log: hooks.userLog,
    yieldToLoop,
    onCollect: (sink, records) => calls.collect(sink, asJson(sink, records)),
  });
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
    cancel: async (reason) => {
      await slice.cancel(reason);
      await network.close(reason);
      await done.catch(() => undefined);
    },
  };
}

/** Collected records travel as JSON, and all of them together have to fit into the result of the job. */
function asJson(sink: string, records: readonly unknown[]): readonly unknown[] {
  const text = jsonText(records);
  if (text.length > MAX_RESULT_BYTES) throw resultTooLarge(sink);
  return JSON.parse(text) as unknown[];
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

/**
 * `holdfast/testing`: runs a job in a test, in this process, with the operators, exchanges and connectors that a cluster runs it with.
 *
 * Deterministic: the subtasks take turns in one thread by a logical clock, so the same job and params give the same records in the same
 * order as long as the job's own functions and sources do (several subtasks that read files may finish their reads in any order).
 */

import { createHash } from "node:crypto";
import type { BuiltJob } from "../api/built.js";
import type { Job } from "../api/job.js";
import { planJob } from "../api/plan.js";
import { present } from "../base/assert.js";
import type { JsonValue } from "../base/json.js";
import { createSink, createSource } from "../connectors/index.js";
import { executionPlan } from "../dataflow/chains.js";
import type { SinkConnector, Split } from "../dataflow/connector.js";
import type { JobGraph } from "../dataflow/graph.js";
import type { Log } from "../env/log.js";
import { collectsTooMuch } from "../executor/run/collect-writer.js";
import { sinkConnectorOf, sinksOf, sourceConnectorOf, sourcesOf } from "../executor/run/connectors-of.js";
import { createLocalNetwork } from "../executor/run/local-network.js";
import { mergeProgress } from "../executor/run/progress.js";
import { runSlice } from "../executor/run/run-slice.js";
import type { ConnectorFactory, RunningSlice, SliceProgress, SplitProvider } from "../executor/run/slice.js";
import { createNodeClock } from "../node/clock.js";
import { withDisturbedWorld } from "./disturbed-world.js";
import { createLogicalClock } from "./logical-clock.js";

export { withDisturbedWorld } from "./disturbed-world.js";

export interface RunJobOptions {
  /** Number of executors, all in this process. Default: that of the job, or 1. */
  readonly parallelism?: number;
  /** Ends the input of the job when it aborts: what was read flows out, and `runJob` resolves. The way to end an unbounded job. */
  readonly signal?: AbortSignal;
  /** What relative paths are relative to. Default: the working directory. */
  readonly baseDir?: string;
  /** Where the job's own log lines go. Default: nowhere. */
  readonly log?: Log;
  /** Where console sinks print. Default: the standard output. */
  readonly print?: (text: string) => void | Promise<void>;
  /** Called for each batch that reaches a `collect` sink, as it does. */
  readonly onCollect?: (sinkUid: string, records: readonly unknown[]) => void | Promise<void>;
  /** Batches of an exchange channel before its sender waits. */
  readonly creditsPerChannel?: number;
}

export interface RunJobResult {
  /** By sink uid: what its `sinks.collect()` was given. */
  readonly collected: Readonly<Record<string, readonly unknown[]>>;
  readonly progress: SliceProgress;
  readonly graph: JobGraph;
  /** The most batches that ever waited in one exchange channel. */
  readonly peakWaitingBatches: number;
}

const silent: Log = { debug: () => undefined, info: () => undefined, warn: () => undefined, error: () => undefined };
let runs = 0;

/**
 * Runs a job to its end. Rejects with the CodedError of the plan or of the operator that failed; then nothing of its output is visible.
 *
 * ```ts
 * const { collected } = await runJob(job, { input: "test/orders.ndjson" });
 * expect(collected.totals).toEqual([...]);
 * ```
 */
export async function runJob<P>(job: Job<P>, params: P, options: RunJobOptions = {}): Promise<RunJobResult> {
  const planned = await planJob(job, params, { sha256Hex, disturb: withDisturbedWorld });
  const { built, settings } = planned;
  const parallelism = options.parallelism ?? settings.parallelism ?? 1;
  const run = new TestRun(built, parallelism, options);
  return await run.run();
}

class TestRun {
  private readonly built: BuiltJob;
  private readonly parallelism: number;
  private readonly options: RunJobOptions;
  private readonly connectors: ConnectorFactory;
  private readonly collected: Record<string, unknown[]> = {};
  private readonly applicationId = `test-${process.pid}-${++runs}`;
  private readonly attempt = "1.1";

  constructor(built: BuiltJob, parallelism: number, options: RunJobOptions) {
    this.built = built;
    this.parallelism = parallelism;
    this.options = options;
    const connectorOptions = {
      ...(options.baseDir === undefined ? {} : { baseDir: options.baseDir }),
      ...(options.print === undefined ? {} : { print: options.print }),
    };
    this.connectors = {
      source: (descriptor) => createSource(descriptor, connectorOptions),
      sink: (descriptor) => createSink(descriptor, connectorOptions),
    };
  }

  async run(): Promise<RunJobResult> {
    const { applicationId, attempt } = this;
    const sinks = this.sinkConnectors();
    const signal = new AbortController().signal;
    // The timers of the clock keep no process alive; a job that waits for its rate should.
    const alive = setInterval(() => undefined, 60_000);
    try {
      for (const { connector, parallelism } of sinks.values())
        await connector.begin?.({ applicationId, attempt, parallelism, signal });
      const { slices, network } = await this.start();
      const results = await finished(slices);
      for (const [uid, { connector, parallelism }] of sinks) {
        const committables = results.flatMap((result): readonly JsonValue[] => result.committables[uid] ?? []);
        await connector.commit(committables, { applicationId, attempt, parallelism });
      }
      const progress = mergeProgress(results.map((result) => result.progress));
      return { collected: this.collected, progress, graph: this.built.graph, peakWaitingBatches: network.peakWaiting() };
    } finally {
      clearInterval(alive);
      for (const { connector } of sinks.values()) await connector.cleanUp({ applicationId, keepAttempt: null });
    }
  }

  private async start() {
    const { built, parallelism, applicationId, attempt, connectors, options } = this;
    const splits = await this.splitProviders();
    const network = createLocalNetwork(
      options.creditsPerChannel === undefined ? {} : { creditsPerChannel: options.creditsPerChannel },
    );
    const clock = createNodeClock();
    const pacing = createLogicalClock();
    for (const operator of built.graph.operators) {
      if (operator.kind === "sink" && (operator.config as { readonly collect?: boolean }).collect === true)
        this.collected[operator.uid] = [];
    }
    const slices = splits.map((provider, subtask) =>
      runSlice({
        built,
        applicationId,
        attempt,
        subtask,
        parallelism,
        splits: provider,
        network,
        connectors,
        clock,
        pacing,
        log: options.log ?? silent,
        yieldToLoop: () => new Promise((resolve) => setImmediate(resolve)),
        onCollect: (uid, records) => {
          this.collect(uid, records);
          return options.onCollect?.(uid, records);
        },
      }),
    );
    const drain = () => {
      for (const slice of slices) slice.drain();
    };
    if (options.signal?.aborted === true) drain();
    else options.signal?.addEventListener("abort", drain, { once: true });
    return { slices, network };
  }

  /** The limit of a sink holds for all its subtasks together; each of them has looked at its own. */
  private collect(uid: string, records: readonly unknown[]): void {
    const collected = this.collected[uid] ?? [];
    const operator = this.built.graph.operators.find((candidate) => candidate.uid === uid);
    const { maxRecords } = present(operator, `the sink ${uid}`).config as { readonly maxRecords: number };
    if (collected.length + records.length > maxRecords) throw collectsTooMuch(uid, maxRecords);
    for (const record of records) collected.push(record);
  }

  /** Splits are dealt out beforehand, split by split in turn, so that who reads what does not depend on time. */
  private async splitProviders(): Promise<readonly SplitProvider[]> {
    const { built, parallelism } = this;
    const dealt = new Map<string, Split[][]>();
    for (const uid of sourcesOf(built)) {
      const operator = built.graph.operators.find((candidate) => candidate.uid === uid);
      const readers = Math.min(operator?.parallelism ?? parallelism, parallelism);
      const connector = sourceConnectorOf(built, uid, this.connectors);
      const { splits } = await connector.enumerate({ parallelism: readers, signal: new AbortController().signal });
      dealt.set(
        uid,
        Array.from({ length: readers }, (_, reader) => splits.filter((_split, index) => index % readers === reader)),
      );
    }
    return Array.from({ length: parallelism }, (_, subtask) => ({
      next: (uid) => {
        const split = dealt.get(uid)?.[subtask]?.shift();
        return Promise.resolve(split === undefined ? null : { split, position: null });
      },
      readers: (uid) => dealt.get(uid)?.length ?? 1,
      hasMore: (uid) => dealt.get(uid)?.some((left) => left.length > 0) ?? false,
    }));
  }

  /** Those that commit, with the parallelism of their operators. */
  private sinkConnectors(): ReadonlyMap<string, PlacedSink> {
    const placed = new Map<string, PlacedSink>();
    const { vertices } = executionPlan(this.built.graph, this.parallelism);
    for (const uid of sinksOf(this.built)) {
      const connector = sinkConnectorOf(this.built, uid, this.connectors);
      const vertex = vertices.find(({ operators }) => operators.some((operator) => operator.uid === uid));
      if (connector !== null) placed.set(uid, { connector, parallelism: vertex?.parallelism ?? this.parallelism });
    }
    return placed;
  }
}

interface PlacedSink {
  readonly connector: SinkConnector<unknown>;
  readonly parallelism: number;
}

/** All results; when one slice fails the others are cancelled with the same error. */
async function finished(slices: readonly RunningSlice[]) {
  try {
    return await Promise.all(slices.map((slice) => slice.done));
  } catch (thrown) {
    await Promise.allSettled(slices.map((slice) => slice.cancel(thrown as never)));
    throw thrown;
  }
}

function sha256Hex(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/**
 * Runs a slice (`slice.ts`): builds the chain of each of its subtasks, runs them side by side, and ends all of them together.
 *
 * Order: sink writers open, chains are built, inputs open, state is restored; only then does anything flow. At the end all subtasks have ended before the
 * first writer prepares. On a failure: abort, close the network, wait for what runs (user code that hangs is left behind after
 * CANCEL_GRACE_MS and can emit nothing any more), abort the writers.
 */
import type { OperatorContext } from "../../api/context.js";
import { present } from "../../base/assert.js";
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import { channelsOf, executionPlan, type Vertex } from "../../dataflow/chains.js";
import type { OpenSinkOptions, SinkConnector, SinkWriter } from "../../dataflow/connector.js";
import { fenceOf } from "../../dataflow/fence.js";
import type { OperatorSpec } from "../../dataflow/graph.js";
import { type Clock, sleep } from "../../env/clock.js";
import type { Chain } from "./chain.js";
import { buildChain } from "./chain-builder.js";
import { type CheckpointMember, SliceCheckpoints } from "./checkpoint/slice-checkpoints.js";
import { collectWriter, stagingCollectWriter } from "./collect-writer.js";
import { sinkConnectorOf, sourceConnectorOf } from "./connectors-of.js";
import { Pacer } from "./pacer.js";
import { sliceProgress } from "./progress.js";
import type { RunningSlice, SliceOptions, SliceProgress, SliceResult } from "./slice.js";
import { SourceTask } from "./source-task.js";
import { ChainDriver, type GateInput, runInputs } from "./subtask.js";
import { sinkFailed } from "./user-errors.js";
import { Counters } from "./user-metrics.js";

/** How long user code that does not react to its signal is waited for. */
const CANCEL_GRACE_MS = 2_000;

export function runSlice(options: SliceOptions): RunningSlice {
  const slice = new Slice(options);
  const done = slice.run();
  return {
    done,
    progress: () => slice.progress(),
    cancel: async (reason) => {
      slice.fail(reason);
      await done.catch(() => undefined);
    },
    drain: () => slice.drain(),
    checkpoint: (order) => slice.checkpoints?.order(order),
  };
}

class Slice {
  readonly checkpoints: SliceCheckpoints | null;
  private readonly options: SliceOptions;
  private readonly controller = new AbortController();
  private readonly pacing: Clock;
  private readonly pacer: Pacer;
  private readonly writers = new Map<string, SinkWriter<unknown>>();
  private readonly chains: Chain[] = [];
  private readonly sources: SourceTask[] = [];
  private readonly sourceUids: string[] = [];
  private readonly counters = new Counters();
  private failure: CodedError | null = null;
  private readonly failed: Promise<never>;
  private rejectFailed: (error: CodedError) => void = () => undefined;
  private isDraining = false;

  constructor(options: SliceOptions) {
    this.options = options;
    this.pacing = options.pacing ?? options.clock;
    this.pacer = new Pacer(this.pacing, options.yieldToLoop);
    const { checkpoints, applicationId, attempt, subtask, built } = options;
    const { maxParallelism } = built.graph;
    this.checkpoints =
      checkpoints === undefined
        ? null
        : new SliceCheckpoints({ ...checkpoints, applicationId, attempt, subtask, maxParallelism, pacer: this.pacer });
    this.failed = new Promise((_resolve, reject) => {
      this.rejectFailed = reject;
    });
    this.failed.catch(() => undefined);
  }

  async run(): Promise<SliceResult> {
    const running: Promise<void>[] = [];
    try {
      await this.openWriters();
      const starts = this.vertices().map((vertex) => this.prepareVertex(vertex));
      await this.checkpoints?.restore();
      this.controller.signal.throwIfAborted();
      if (this.isDraining) this.drain();
      for (const start of starts) running.push(this.guarded(start));
      // User code may hang; a failure ends the slice all the same.
      await Promise.race([Promise.all(running), this.failed]);
      this.controller.signal.throwIfAborted();
      this.checkpoints?.close();
      const committables = await this.prepareSinks();
      this.controller.signal.throwIfAborted();
      const progress = this.progress();
      await this.close();
      return { committables, progress };
    } catch (thrown) {
      this.fail(CodedError.from(thrown));
      await this.stopped(running);
      throw this.failure ?? thrown;
    }
  }

  fail(error: CodedError): void {
    if (this.failure !== null) return;
    this.failure = error;
    this.rejectFailed(error);
    this.checkpoints?.close();
    this.controller.abort(error);
    for (const chain of this.chains) chain.wakeup.notify();
    void this.options.network.close(error);
  }

  drain(): void {
    this.isDraining = true;
    for (const source of this.sources) source.drain();
  }

  progress(): SliceProgress {
    return sliceProgress(this.chains, this.sources, this.sourceUids, this.counters);
  }

  private vertices(): readonly Vertex[] {
    const { built, parallelism, subtask } = this.options;
    return executionPlan(built.graph, parallelism).vertices.filter((vertex) => subtask < vertex.parallelism);
  }

  private async openWriters(): Promise<void> {
    const { built, connectors, applicationId, attempt, subtask } = this.options;
    for (const vertex of this.vertices()) {
      for (const operator of vertex.operators) {
        if (operator.kind !== "sink") continue;
        const connector = sinkConnectorOf(built, operator.uid, connectors);
        const restored = this.checkpoints?.restoredWriter(operator.uid);
        const open = {
          applicationId,
          attempt,
          subtask,
          parallelism: vertex.parallelism,
          signal: this.controller.signal,
          ...(restored === undefined ? {} : { restored }),
        };
        const writer =
          connector === null ? this.collectWriter(operator, restored) : await openWriter(operator.uid, connector, open);
        this.writers.set(operator.uid, writer);
        this.controller.signal.throwIfAborted();
      }
    }
  }

  private collectWriter(operator: OperatorSpec, restored: JsonValue | undefined): SinkWriter<unknown> {
    const { checkpoints, onCollect, attempt, subtask } = this.options;
    if (checkpoints === undefined) return collectWriter(operator, onCollect);
    return stagingCollectWriter(operator, { attempt, subtask, restored, asJson: checkpoints.asJson });
  }

  /** Builds the subtask and returns what runs it. */
  private prepareVertex(vertex: Vertex): () => Promise<void> {
    const { built, subtask, network, clock, scratch } = this.options;
    const signal = this.controller.signal;
    const contextOf = (operator: OperatorSpec) => this.contextOf(operator, vertex.parallelism);
    const chain = buildChain({
      built,
      vertex,
      subtask,
      network,
      clock,
      pacer: this.pacer,
      signal,
      contextOf,
      writers: this.writers,
      ...(scratch === undefined ? {} : { scratch }),
    });
    this.chains.push(chain);
    const driver = new ChainDriver(chain, this.pacing);
    const member = this.checkpoints?.join(vertex.id, chain) ?? null;
    const again = this.checkpoints?.hadFinished(vertex.id) ?? false;
    const head = present(chain.nodes[0], "first operator of a vertex");
    const feed =
      head.functions.kind === "source" ? this.feedOfSource(vertex, driver, member) : this.feedOfInputs(vertex, driver, member);
    return async () => {
      // A source that had finished takes no splits: its operators have ended.
      if (!again || head.functions.kind !== "source") await feed();
      if (member !== null) await this.checkpoints?.ending(member);
      await chain.end(again);
      if (member !== null) this.checkpoints?.ended(member);
    };
  }

  private feedOfSource(vertex: Vertex, driver: ChainDriver, member: CheckpointMember | null): () => Promise<void> {
    const { built, clock, splits, connectors } = this.options;
    const node = present(driver.chain.nodes[0], "source of a vertex");
    const { uid } = node.spec;
    const source = new SourceTask({
      driver,
      node,
      connector: sourceConnectorOf(built, uid, connectors),
      schema: node.functions.kind === "source" ? node.functions.schema : null,
      eventTime: node.functions.kind === "source" ? node.functions.eventTime : null,
      splits,
      readers: vertex.parallelism,
      clock,
    });
    this.sources.push(source);
    this.sourceUids.push(uid);
    if (member !== null && this.checkpoints !== null) {
      member.source = source;
      driver.attend = this.checkpoints.attendTo(member);
    }
    return () => source.run();
  }

  private feedOfInputs(vertex: Vertex, driver: ChainDriver, member: CheckpointMember | null): () => Promise<void> {
    const gates = this.openGates(vertex);
    const barriers = member === null || gates.length === 0 ? null : (this.checkpoints?.consumerOf(member, gates) ?? null);
    return () => runInputs(driver, gates, barriers);
  }

  private openGates(vertex: Vertex): GateInput[] {
    const { subtask, network } = this.options;
    return [0, 1].flatMap((input) => {
      const channels = vertex.inputs
        .filter((edge) => edge.input === input)
        .flatMap((edge) =>
          channelsOf(edge)
            .filter((ends) => ends.toSubtask === subtask)
            .map((ends) => ({ edge: edge.id, ...ends })),
        );
      return channels.length === 0 ? [] : [{ input, channels, gate: network.input(channels) }];
    });
  }

  private contextOf(operator: OperatorSpec, parallelism: number): OperatorContext {
    const { log, applicationId, attempt, subtask } = this.options;
    const fields = { operator: operator.uid, subtask, attempt };
    return {
      signal: this.controller.signal,
      log: {
        debug: (message, more) => log.debug(message, { ...more, ...fields }),
        info: (message, more) => log.info(message, { ...more, ...fields }),
        warn: (message, more) => log.warn(message, { ...more, ...fields }),
        error: (message, more) => log.error(message, { ...more, ...fields }),
      },
      metrics: { count: (name, by = 1) => this.counters.add(operator.uid, name, by) },
      operator: operator.uid,
      subtask,
      parallelism,
      application: applicationId,
      attempt,
      fence: fenceOf(attempt),
    };
  }

  /** The first failure ends all. */
  private async guarded(start: () => Promise<void>): Promise<void> {
    try {
      await start();
    } catch (thrown) {
      this.fail(CodedError.from(thrown));
      throw thrown;
    }
  }

  private async prepareSinks(): Promise<Record<string, JsonValue[]>> {
    const committables: Record<string, JsonValue[]> = {};
    for (const sink of this.chains.flatMap((chain) => chain.sinks)) {
      const { uid, committables: staged } = await sink.prepare();
      if (staged.length > 0) committables[uid] = [...(committables[uid] ?? []), ...staged];
    }
    return committables;
  }

  /** After a failure: nothing of the slice runs any more, and nothing of its output is left. */
  private async stopped(running: readonly Promise<void>[]): Promise<void> {
    const grace = new AbortController();
    await Promise.race([
      Promise.allSettled(running),
      sleep(this.options.clock, CANCEL_GRACE_MS, grace.signal).catch(() => undefined),
    ]);
    grace.abort();
    await Promise.allSettled([...this.writers.values()].map((writer) => writer.abort()));
    await this.close();
  }

  private async close(): Promise<void> {
    await Promise.allSettled([...this.writers.values()].map((writer) => writer.close()));
    await this.options.scratch?.close();
    if (!this.controller.signal.aborted) this.controller.abort(new CodedError("CLOSED", "The slice has ended."));
  }
}

async function openWriter(uid: string, connector: SinkConnector<unknown>, options: OpenSinkOptions): Promise<SinkWriter<unknown>> {
  try {
    return await connector.open(options);
  } catch (thrown) {
    throw sinkFailed(uid, thrown);
  }
}

/**
 * The world's file system as sources and sinks of jobs see it: what is staged, and what was made visible.
 *
 * A sink's output is staged by executors, made visible by a driver's commit, and removed when it was never committed, as connectors do it
 * (dataflow/connector.ts). What a dead process had asked for may still happen.
 */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import type { SinkConnector, SourceConnector, Split } from "../dataflow/connector.js";
import { sleep } from "../env/clock.js";
import type { JobInputs } from "../host/job/driver-inputs.js";
import type { CountingPlan } from "./jobs/counting-job.js";
import { outside } from "./marshal.js";
import type { SinkCommitSeen } from "./observe.js";
import type { SeededRandom } from "./seed.js";
import type { SimProcess, World } from "./world.js";

/** What a simulated job does; its `params`. */
export interface JobPlan {
  readonly splits: number;
  readonly splitMs: number;
  /** In these tries of every attempt some split fails. */
  readonly failingTries: readonly number[];
  /** Share of commits of the sink that fail (and may be repeated). */
  readonly commitFailShare: number;
  readonly commitMs: number;
  /** It takes checkpoints, and this is what it does instead. */
  readonly counting?: CountingPlan;
}

export const SOURCE = "input";
export const SINK = "output";

export interface Staged {
  readonly subtask: number;
  readonly splits: readonly string[];
}

export interface SinkWorldOptions {
  readonly world: World;
  committed(commit: SinkCommitSeen): void;
  cleaned(applicationId: string, removedAttempts: readonly string[], process: SimProcess): void;
}

export class SinkWorld {
  private readonly options: SinkWorldOptions;
  private readonly random: SeededRandom;
  /** application -> attempt -> what its subtasks staged. */
  private readonly staged = new Map<string, Map<string, Staged[]>>();
  private readonly visible = new Map<string, string>();

  constructor(options: SinkWorldOptions) {
    this.options = options;
    this.random = options.world.random.fork("sinks");
  }

  /** Attempts with something staged. */
  stagedAttempts(applicationId: string): readonly string[] {
    return [...(this.staged.get(applicationId)?.keys() ?? [])];
  }

  inputs(process: SimProcess, applicationId: string, parallelism: number, plan: JobPlan): JobInputs {
    const source = { connector: this.source(process, plan), parallelism };
    const sink = { connector: this.sink(process, applicationId, plan), parallelism };
    return { sources: new Map([[SOURCE, source]]), sinks: new Map([[SINK, sink]]) };
  }

  /** An executor's subtask makes its part durable, not visible. */
  stage(process: SimProcess, applicationId: string, attempt: string, part: Staged): Promise<Staged> {
    return this.later(process, "stage", () => {
      const attempts = this.staged.get(applicationId) ?? new Map<string, Staged[]>();
      this.staged.set(applicationId, attempts);
      attempts.set(attempt, [...(attempts.get(attempt) ?? []), part]);
      return part;
    });
  }

  private source(process: SimProcess, plan: JobPlan): SourceConnector<unknown> {
    return {
      bounded: true,
      enumerate: () =>
        this.later(process, "enumerate", () => {
          const splits: Split[] = [];
          for (let index = 0; index < plan.splits; index += 1) splits.push({ id: `s${index}`, sizeHint: 1 });
          return { splits, totalRecords: plan.splits * 100, totalBytes: null };
        }),
      open: () => Promise.reject(new CodedError("SOURCE_FAILED", "a driver reads no records")),
    };
  }

  private sink(process: SimProcess, applicationId: string, plan: JobPlan): SinkConnector<unknown> {
    return {
      begin: () => this.later(process, "begin sink", () => {}),
      open: () => Promise.reject(new CodedError("SINK_FAILED", "a driver writes no records")),
      commit: async (committables, { attempt }) => {
        await sleep(process.clock, plan.commitMs * this.random.between(0.5, 1.5), new AbortController().signal);
        await this.later(process, "commit sink", () => {
          if (this.random.chance(plan.commitFailShare)) throw new CodedError("SINK_FAILED", "the disk is full");
          this.makeVisible(process, applicationId, attempt, committables);
        });
      },
      cleanUp: ({ keepAttempt, isOver }) =>
        this.later(process, "clean up", () => {
          const attempts = this.staged.get(applicationId);
          const removed = [...(attempts?.keys() ?? [])].filter(
            (attempt) =>
              attempt !== keepAttempt && attempt !== this.visible.get(applicationId) && (isOver === undefined || isOver(attempt)),
          );
          for (const attempt of removed) attempts?.delete(attempt);
          this.options.cleaned(applicationId, removed, process);
        }),
    };
  }

  private makeVisible(process: SimProcess, applicationId: string, attempt: string, committables: readonly JsonValue[]): void {
    if (this.visible.get(applicationId) !== attempt && this.staged.get(applicationId)?.get(attempt) === undefined)
      throw new CodedError("SINK_FAILED", `what attempt ${attempt} had staged is gone`);
    this.visible.set(applicationId, attempt);
    this.options.committed({ at: this.options.world.now(), applicationId, attempt, committables, process });
  }

  /** What a process asked for just before its death happens or not. */
  private later<T>(process: SimProcess, label: string, act: () => T): Promise<T> {
    return outside(this.options.world, process, label, this.random.between(0.5, 5), () => {
      if (process.state === "dead" && this.random.chance(0.5)) throw new CodedError("ABORTED", "its process is gone");
      return act();
    });
  }
}

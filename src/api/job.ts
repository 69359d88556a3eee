/** Jobs: what a job file exports, and the builder that its `build` function is given. */
import { CodedError } from "../base/errors.js";
import type { JsonValue } from "../base/json.js";
import { type GraphBuilder, planFailed } from "./builder.js";
import type { Duration, Size } from "./durations.js";
import { type EventTimeOptions, eventTimeConfig } from "./event-time.js";
import type { SchemaInput, SchemaOutput, StandardSchemaV1 } from "./schema.js";
import type { Source, SourceSides } from "./source.js";
import { Stream } from "./stream.js";

/** Recognises a job object also when it was made by another copy of this module (the job bundle has its own). */
const JOB_MARK = Symbol.for("holdfast.job");

/** What happens when a subtask fails: the job starts again (from its last checkpoint, else from its input), so often and after such waits. */
export type RestartStrategy =
  | { readonly strategy: "none" }
  | { readonly strategy: "fixed-delay"; readonly delay: Duration; readonly attempts: number }
  /** `jitter`: up to this share of each wait is left out (0 to 0.5, default 0.2), so that jobs that failed together do not come back together. */
  | {
      readonly strategy: "exponential";
      readonly min: Duration;
      readonly max: Duration;
      readonly attempts?: number;
      readonly jitter?: number;
    }
  /** The job fails when more than `failures` (1 to 99) of its tries fail within `interval`. */
  | { readonly strategy: "failure-rate"; readonly failures: number; readonly interval: Duration; readonly delay: Duration };

/** Of each executor. */
export interface Resources {
  readonly cores?: number;
  readonly memory?: Size;
}

/** A job that restarts goes on from its last completed checkpoint. */
export interface CheckpointOptions {
  /** From the beginning of one to the beginning of the next; at least 10 ms. */
  readonly every: Duration;
  /** One that is not complete by then is given up; default: 10 minutes. */
  readonly timeout?: Duration;
  /** From the end of one to the beginning of the next, at least; default: 0. */
  readonly minPause?: Duration;
  /** So many checkpoints in a row may fail; one more, and the job restarts from the last that did not. Default: any number. */
  readonly toleratedFailures?: number;
  /** Completed checkpoints that are kept, 2 to 16; default: 3. */
  readonly history?: number;
  /** Both give exactly-once in this release. */
  readonly mode?: "exactly-once" | "at-least-once";
  /**
   * Refuses to submit the job when the way from one of its sources to one of its sinks promises less (GUARANTEE_UNSUPPORTED names the end that does);
   * `holdfast plan` shows what each promises. Default: none is asked for.
   */
  readonly guarantee?: "exactly-once" | "effectively-once";
}

/** Params of a job that declares no schema: as they were given (text, from a command line). */
export type UncheckedParams = Readonly<Record<string, JsonValue>>;

interface JobOptions {
  /** `[A-Za-z0-9._-]{1,128}`; the name the job is shown by. */
  readonly id: string;
  readonly restart?: RestartStrategy;
  readonly resources?: Resources;
  /** Default: every 10 s when the input never ends, none when it does. */
  readonly checkpoint?: CheckpointOptions | "none";
  /**
   * Where keyed state lives. `memory` (the default): in the memory of the executors. `disk`: what has no room there goes to a scratch directory of the
   * executor, which costs time for each key that is not in memory. Of operators with state `aggregate`, `reduce` and `process` without timers and times to live can do that;
   * others are refused when the job is planned (PLAN_FAILED).
   */
  readonly state?: "memory" | "disk";
  /** Number of executors unless the submission says otherwise. */
  readonly parallelism?: number;
}

export interface JobDefinition<S extends StandardSchemaV1> extends JobOptions {
  /** Any Standard Schema (zod, valibot, arktype ...): checks and types the params. */
  readonly params: S;
  /** Builds the graph. Runs when the job is planned and again in every executor: the same params have to give the same graph. */
  readonly build: (job: JobBuilder, params: SchemaOutput<S>) => void;
}

export interface UncheckedJobDefinition extends JobOptions {
  readonly params?: undefined;
  readonly build: (job: JobBuilder, params: UncheckedParams) => void;
}

/** A job as `defineJob` returns it. `P` is what its params may be given as. */
export interface Job<in P = never> extends JobOptions {
  /** Only for the compiler. */
  readonly accepts?: (params: P) => void;
  readonly params: StandardSchemaV1 | null;
  readonly build: (job: JobBuilder, params: never) => void;
}

/**
 * Defines a job; the default export of a job file. Nothing runs here.
 *
 * ```ts
 * export default defineJob({
 *   id: "delays",
 *   params: z.object({ input: z.string(), output: z.string() }),
 *   build(job, p) {
 *     job.from("flights", sources.parquet(p.input))
 *       .filter((f) => f.delay > 0)
 *       .keyBy((f) => f.origin)
 *       .aggregate("per-airport", { init: () => ({ n: 0 }), add: (a) => ({ n: a.n + 1 }) })
 *       .to("result", sinks.ndjson(p.output));
 *   },
 * });
 * ```
 */
export function defineJob<S extends StandardSchemaV1>(definition: JobDefinition<S>): Job<SchemaInput<S>>;
export function defineJob(definition: UncheckedJobDefinition): Job<UncheckedParams>;
export function defineJob(definition: JobDefinition<StandardSchemaV1> | UncheckedJobDefinition): Job<never> {
  const job = { ...definition, params: definition.params ?? null, build: definition.build as Job["build"] };
  Object.defineProperty(job, JOB_MARK, { value: 1 });
  return job;
}

/** Whether the value was made by `defineJob`, of this or another copy of this module. */
export function isJob(value: unknown): value is Job {
  return typeof value === "object" && value !== null && (value as { readonly [JOB_MARK]?: unknown })[JOB_MARK] === 1;
}

/** What `build` is given. */
export class JobBuilder {
  private readonly builder: GraphBuilder;

  constructor(builder: GraphBuilder) {
    this.builder = builder;
  }

  /** Reads a source. `parallelism`: how many subtasks read it; default: all. `eventTime`: for windows, timers and interval joins. */
  from<T>(
    uid: string,
    source: Source<T>,
    options: { readonly parallelism?: number; readonly eventTime?: EventTimeOptions<NoInfer<T>> } = {},
  ): Stream<T, SourceSides> {
    if (source?.holdfast !== "source")
      throw planFailed(String(uid), "is given something that is not a source", "Make one with `sources`.", "unknown input");
    if (source.rate !== null && !(source.rate > 0)) {
      throw planFailed(uid, `has a rate of ${source.rate}`, "A rate is a number of records a second, greater than 0.");
    }
    const { descriptor, onError, rate, bounded } = source;
    const { eventTime } = options;
    const config = {
      ...(descriptor === null ? { custom: true, replayable: source.custom?.replayable ?? true } : { descriptor }),
      onError,
      rate,
      bounded,
      ...(eventTime === undefined ? {} : { eventTime: eventTimeConfig(uid, eventTime, bounded) }),
    };
    const ref = this.builder.add({
      uid,
      kind: "source",
      config,
      functions: {
        kind: "source",
        custom: source.custom,
        schema: source.schema,
        eventTime: (eventTime?.time ?? null) as ((record: unknown) => number) | null,
      },
      inputs: [],
      parallelism: options.parallelism ?? null,
      bounded,
      timed: eventTime !== undefined,
    });
    return new Stream<T, SourceSides>(this.builder, ref, onError === "side" ? ["errors"] : []);
  }
}

/** The definition must at least look like a job; a plain JavaScript file may hold anything. */
export function checkJob(job: unknown): asserts job is Job {
  if (!isJob(job)) {
    throw new CodedError("INVALID_JOB", "The default export is not a job: it was not made by defineJob.", {
      hint: "Write `export default defineJob({ id, params, build })`.",
    });
  }
  if (typeof job.id !== "string" || !/^[A-Za-z0-9._-]{1,128}$/.test(job.id)) {
    throw new CodedError("INVALID_JOB", `The id ${JSON.stringify(job.id)} of the job is not valid.`, {
      hint: "An id is 1 to 128 of the characters A-Z a-z 0-9 . _ -",
    });
  }
  if (typeof job.build !== "function") {
    throw new CodedError("INVALID_JOB", `Job '${job.id}' has no build function.`, {
      hint: "Write `build(job, params) { job.from(...)... }`.",
    });
  }
}

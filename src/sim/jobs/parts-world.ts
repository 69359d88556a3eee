/**
 * The outside world of counting jobs: the numbers that they read, and the parts that they write. A part is staged by an executor's writer, made
 * visible by a driver's commit, part by part, and removed when its try is over and nothing needs it (contract: dataflow/connector.ts).
 */
import { CodedError } from "../../base/errors.js";
import type { JsonValue } from "../../base/json.js";
import type { SinkConnector, SinkWriter, SourceConnector, SourceReader, Split } from "../../dataflow/connector.js";
import { sleep } from "../../env/clock.js";
import type { JobInputs } from "../../host/job/driver-inputs.js";
import { outside } from "../marshal.js";
import type { SeededRandom } from "../seed.js";
import type { SimProcess, World } from "../world.js";
import { type CountedRecord, type CountingPlan, SINK, SOURCE, splitsOf } from "./counting-job.js";

/** What is told of a part, and committed. */
export type PartName = { readonly part: string; readonly attempt: string; readonly records: number };

/** Which writer wrote it, and as its how manieth part, over all tries. */
export function placeOfPart(part: string): { readonly writer: number; readonly number: number } {
  const [, writer, number] = part.split("-");
  return { writer: Number(writer), number: Number(number) };
}

export interface PartsCommitSeen {
  readonly applicationId: string;
  /** Visible from now on. */
  readonly parts: readonly string[];
  /** They were before. */
  readonly repeated: readonly string[];
  /** `again` of the commit: after a restore, or after a failure. */
  readonly again: boolean;
  readonly process: SimProcess;
}

export interface PartsWorldOptions {
  readonly world: World;
  committed(seen: PartsCommitSeen): void;
  removed(applicationId: string, part: string, process: SimProcess): void;
}

interface Part {
  readonly attempt: string;
  readonly records: readonly CountedRecord[];
}

export class PartsWorld {
  private readonly options: PartsWorldOptions;
  private readonly random: SeededRandom;
  /** Application -> part. */
  private readonly staged = new Map<string, Map<string, Part>>();
  private readonly visible = new Map<string, Map<string, Part>>();

  constructor(options: PartsWorldOptions) {
    this.options = options;
    this.random = options.world.random.fork("parts");
  }

  stagedParts(applicationId: string): readonly string[] {
    return [...(this.staged.get(applicationId)?.keys() ?? [])];
  }

  isVisible(applicationId: string, part: string): boolean {
    return this.visible.get(applicationId)?.has(part) === true;
  }

  /** Staged or visible; null: neither. */
  recordsOf(applicationId: string, part: string): readonly CountedRecord[] | null {
    return (this.visible.get(applicationId)?.get(part) ?? this.staged.get(applicationId)?.get(part))?.records ?? null;
  }

  shownRecords(applicationId: string): readonly CountedRecord[] {
    return [...(this.visible.get(applicationId)?.values() ?? [])].flatMap(({ records }) => records);
  }

  inputs(
    process: SimProcess,
    applicationId: string,
    parallelism: number,
    plan: CountingPlan,
    commits: { readonly failShare: number; readonly ms: number },
  ): JobInputs {
    return {
      sources: new Map([[SOURCE, { connector: this.source(process, plan), parallelism }]]),
      sinks: new Map([[SINK, { connector: this.sink(process, applicationId, plan, commits), parallelism }]]),
    };
  }

  source(process: SimProcess, plan: CountingPlan): SourceConnector<unknown> {
    return {
      bounded: true,
      enumerate: () =>
        this.later(process, "enumerate", () => ({ splits: splitsOf(plan), totalRecords: plan.records, totalBytes: null })),
      open: async (split, position, { signal }) => {
        const random = this.random.fork(`${process.id} ${split.id}`);
        return new NumbersReader(split, position, async (limit) => {
          await sleep(process.clock, plan.pauseMs * random.between(0.3, 1.7), signal as AbortSignal);
          return Math.min(limit, 1 + random.below(plan.batch));
        });
      },
    };
  }

  sink(
    process: SimProcess,
    applicationId: string,
    { appears }: CountingPlan,
    commits: { readonly failShare: number; readonly ms: number } = { failShare: 0, ms: 0 },
  ): SinkConnector<unknown> {
    return {
      appears,
      begin: () => this.later(process, "begin sink", () => {}),
      open: async ({ attempt, subtask, restored }) => this.writer(process, applicationId, { attempt, subtask, restored }),
      commit: async (committables, { again }) => {
        const names = committables.map((one) => one as unknown as PartName);
        if (names.length > 0) await sleep(process.clock, commits.ms * this.random.between(0.5, 1.5), new AbortController().signal);
        for (const { part } of names)
          await this.later(process, "commit part", () => {
            if (this.random.chance(commits.failShare)) throw new CodedError("SINK_FAILED", "the disk is full");
            this.show(process, applicationId, part, again === true);
          });
      },
      cleanUp: ({ keepAttempt, isOver }) =>
        this.later(process, "clean up", () => {
          const parts = this.staged.get(applicationId);
          for (const [name, { attempt }] of [...(parts ?? [])]) {
            if (attempt === keepAttempt || isOver?.(attempt) === false) continue;
            parts?.delete(name);
            this.options.removed(applicationId, name, process);
          }
        }),
    };
  }

  private writer(
    process: SimProcess,
    applicationId: string,
    {
      attempt,
      subtask,
      restored,
    }: { readonly attempt: string; readonly subtask: number; readonly restored: JsonValue | undefined },
  ): SinkWriter<unknown> {
    let number = (restored as { readonly next: number } | undefined)?.next ?? 0;
    let open: CountedRecord[] = [];
    /** The records so far are a part of their own; what is written from now on is in the next one. */
    const stage = async (): Promise<JsonValue | null> => {
      const records = open;
      open = [];
      if (records.length === 0) return null;
      const part = `${attempt}-${subtask}-${number++}`;
      await this.later(process, "stage part", () => this.partsOf(this.staged, applicationId).set(part, { attempt, records }));
      return { part, attempt, records: records.length };
    };
    return {
      write: (records, count) => void open.push(...(records.slice(0, count) as CountedRecord[])),
      checkpoint: async () => {
        const staging = stage();
        const state = { next: number };
        const committable = await staging;
        return { committables: committable === null ? [] : [committable], state };
      },
      prepare: () => stage(),
      // What is staged in a part that is closed may be in a checkpoint.
      abort: async () => {},
      close: async () => {},
    };
  }

  private show(process: SimProcess, applicationId: string, part: string, again: boolean): void {
    const visible = this.partsOf(this.visible, applicationId);
    const staged = this.staged.get(applicationId)?.get(part);
    const seen = { applicationId, again, process };
    if (visible.has(part)) this.options.committed({ ...seen, parts: [], repeated: [part] });
    else if (staged === undefined) throw new CodedError("SINK_FAILED", `part ${part} is neither staged nor visible`);
    else {
      visible.set(part, staged);
      this.staged.get(applicationId)?.delete(part);
      this.options.committed({ ...seen, parts: [part], repeated: [] });
    }
  }

  private partsOf(places: Map<string, Map<string, Part>>, applicationId: string): Map<string, Part> {
    const parts = places.get(applicationId) ?? new Map<string, Part>();
    places.set(applicationId, parts);
    return parts;
  }

  /** What a process asked for just before its death happens or not. */
  private later<T>(process: SimProcess, label: string, act: () => T): Promise<T> {
    return outside(this.options.world, process, label, this.random.between(0.5, 5), () => {
      if (process.state === "dead" && this.random.chance(0.5)) throw new CodedError("ABORTED", "its process is gone");
      return act();
    });
  }
}

/** `pause` waits, and says how many numbers are there then. */
class NumbersReader implements SourceReader<unknown> {
  private at: number;
  private readonly from: number;
  private readonly to: number;
  private readonly pause: (limit: number) => Promise<number>;

  constructor(split: Split, position: JsonValue | null, pause: (limit: number) => Promise<number>) {
    this.pause = pause;
    this.from = Number(split.from);
    this.to = Number(split.to);
    this.at = position === null ? this.from : Number(position);
  }

  async next(out: unknown[], limit: number): Promise<number> {
    if (this.at >= this.to) return 0;
    const count = await this.pause(Math.min(limit, this.to - this.at));
    for (let index = 0; index < count; index += 1) out[index] = this.at++;
    return count;
  }

  position(): JsonValue {
    return this.at;
  }

  progress(): number {
    return this.at - this.from;
  }

  async close(): Promise<void> {}
}

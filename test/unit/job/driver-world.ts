/** Drives a driver core by events alone: what the tests of the driver share. */
import { expect } from "vitest";
import type { ErrorShape } from "../../../src/base/errors.js";
import { createDriverCore } from "../../../src/job/driver-core.js";
import { DRIVER_LIMITS, type DriverEffect, type DriverEvent } from "../../../src/job/driver-events.js";
import { type RestartStrategy, restartRules } from "../../../src/job/restart-strategy.js";
import { type ApplicationRecord, submittedApplication } from "../../../src/wire/application.js";
import type { Progress } from "../../../src/wire/progress.js";

export const HASH = "a".repeat(64);
export const EMPTY: Progress = {
  recordsIn: 0,
  recordsOut: 0,
  badRecords: 0,
  totalRecords: null,
  operators: [],
  firstBadRecords: [],
  jobRestarts: 0,
  lastRestartReason: null,
  phase: "running",
};

export function applicationRecord(changes: Partial<ApplicationRecord> = {}, parallelism = 2): ApplicationRecord {
  const record = submittedApplication({
    id: "app-1-1",
    submissionKey: "key",
    contentHash: "c",
    spec: {
      name: "job",
      kind: "job",
      deployMode: "cluster",
      supervise: true,
      restart: { maxRestarts: 3, windowMs: 1000, minBackoffMs: 1, maxBackoffMs: 10 },
      driver: { cores: 1, memoryBytes: 1 },
      job: { artifact: "b".repeat(64), graphHash: HASH, params: {}, parallelism, executor: { cores: 1, memoryBytes: 1 } },
      process: null,
    },
    submittedAt: 0,
    order: 0,
  });
  return { ...record, state: "running", attempt: 1, startedAt: 0, ...changes };
}

type EffectOf<K extends DriverEffect["kind"]> = Extract<DriverEffect, { kind: K }>;

export interface WorldOptions {
  readonly application?: ApplicationRecord;
  readonly attempt?: number;
  readonly restart?: RestartStrategy | null;
  readonly broken?: ErrorShape;
  readonly failover?: "slice" | "job";
  readonly collectLimits?: ReadonlyMap<string, number>;
  readonly appears?: ReadonlyMap<string, "at-checkpoint" | "at-end">;
}

export class World {
  readonly effects: DriverEffect[] = [];
  now = 1_000;
  private readonly core;
  private masters = 100;

  constructor(options: WorldOptions = {}) {
    const application = options.application ?? applicationRecord();
    this.core = createDriverCore({
      application,
      attempt: options.attempt ?? application.attempt,
      pid: 1,
      address: "127.0.0.1:1",
      graphHash: HASH,
      broken: options.broken ?? null,
      highestEpoch: 0,
      restart: restartRules(options.restart ?? null),
      failover: options.failover ?? "job",
      limits: DRIVER_LIMITS,
      ...(options.collectLimits === undefined ? {} : { collectLimits: options.collectLimits }),
      ...(options.appears === undefined ? {} : { appears: options.appears }),
    });
  }

  get view() {
    return this.core.view();
  }

  get wakeAt() {
    return this.core.nextWakeAt();
  }

  /** What the core wants done because of this event. */
  post(event: DriverEvent): DriverEffect[] {
    const writes: never[] = [];
    const effects: DriverEffect[] = [];
    this.core.step(event, { instant: this.now, wall: 0 }, { writes, effects });
    if (writes.length > 0) expect(writes).toEqual([]);
    this.effects.push(...effects);
    return effects;
  }

  /** Lets time pass up to the next deadline of the core, and tells it. */
  wake(): DriverEffect[] {
    const at = this.core.nextWakeAt();
    expect(at).not.toBeNull();
    this.now = Math.max(this.now, at ?? 0);
    return this.post({ kind: "wake-up" });
  }

  wait(durationMs: number): DriverEffect[] {
    this.now += durationMs;
    return this.post({ kind: "wake-up" });
  }

  of<K extends DriverEffect["kind"]>(kind: K): EffectOf<K>[] {
    return this.effects.filter((effect): effect is EffectOf<K> => effect.kind === kind);
  }

  told(message: EffectOf<"tell-executor">["message"]): EffectOf<"tell-executor">[] {
    return this.of("tell-executor").filter((effect) => effect.message === message);
  }

  requests(message: EffectOf<"request">["message"]): EffectOf<"request">[] {
    return this.of("request").filter((effect) => effect.message === message);
  }

  get ending() {
    return this.of("end")[0]?.ending;
  }

  // ------------------------------------------------------------------------------------------------ usual courses

  /** A master is found and takes the registration. */
  master(epoch = 1, application: ApplicationRecord = applicationRecord()): number {
    const link = this.masters++;
    this.post({ kind: "master.found", link, epoch });
    this.post({ kind: "master.registered", link, epoch, application });
    return link;
  }

  executor(number: number, link = number, graphHash = HASH): void {
    const processId = `app-1-1.d1.e${number}`;
    this.post({ kind: "executor.registered", link, processId, pid: number, dataAddress: `127.0.0.1:${9000 + number}`, graphHash });
  }

  prepared(tryNumber = this.view.try, splits = 3): void {
    const all = Array.from({ length: splits }, (_, index) => ({ id: `s${index}`, sizeHint: 1 }));
    this.post({ kind: "prepared", try: tryNumber, sources: [{ uid: "in", subtasks: 2, splits: all, totalRecords: 30 }] });
  }

  /** Two executors run try 1. */
  running(): this {
    this.post({ kind: "started" });
    this.master();
    this.prepared();
    this.executor(1);
    this.executor(2);
    expect(this.view.phase).toBe("running");
    return this;
  }

  done(
    link: number,
    tryNumber = this.view.try,
    committables: Record<string, unknown[]> = { out: [`part-${link}`] },
  ): DriverEffect[] {
    return this.post({ kind: "executor.done", link, try: tryNumber, committables, progress: EMPTY });
  }

  failed(link: number, error: ErrorShape, tryNumber = this.view.try): DriverEffect[] {
    return this.post({ kind: "executor.failed", link, try: tryNumber, error });
  }

  /** Its process is killed: the connection breaks and is refused from then on. */
  dies(number: number, link = number): void {
    this.post({ kind: "executor.unlinked", link });
    this.post({ kind: "executor.unreachable", processId: `app-1-1.d1.e${number}` });
  }

  /** The newest request of that kind is answered. */
  answer(request: EffectOf<"request">["message"], error: ErrorShape | null = null): DriverEffect[] {
    return this.post({ kind: "request.answered", request, number: this.requests(request).at(-1)?.number ?? 0, error });
  }

  /** From the last sub-task's end to the end of the driver. */
  finish(): void {
    this.done(1);
    this.done(2);
    this.answer("driver.commit");
    this.post({ kind: "sinks.committed" });
    this.post({ kind: "cleaned" });
    this.answer("driver.finished");
  }
}

export const shape = (code: ErrorShape["code"], message = code.toLowerCase()): ErrorShape => ({ code, message, hint: null });
